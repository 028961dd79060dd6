import type { Clock } from '../../clock/clock.ts';
import { OperationError } from '../../errors/operation-error.ts';
import { createHttpClient } from '../../net/http-client.ts';
import { proxyRulesOf } from '../../net/proxy.ts';
import { trustBesides } from '../../net/trust.ts';

/**
 * Stores the report at a URL by HTTP PUT, with the proxies of the environment and the authorities
 * that the machine trusts.
 * @throws {OperationError} the server does not accept it; errors of the HTTP client
 */
export async function sendReport(url: URL, report: string, clock: Clock, signal: AbortSignal): Promise<void> {
  using client = createHttpClient({
    clock,
    timeoutSeconds: 60,
    proxy: proxyRulesOf(process.env),
    tls: () => trustBesides([]),
  });
  const response = await client.request({ url, upload: report }, signal);
  response.discard();
  if (response.status >= 200 && response.status < 300) return;
  throw new OperationError({
    what: 'send',
    target: `the report to ${url.origin}${url.pathname}`,
    why: `the server answered ${response.status} ${response.statusText}`,
    hint: 'the server must accept PUT at that URL',
  });
}
