import type { Clock } from '../../clock/clock.ts';
import { createHttpClient } from '../../net/http-client.ts';
import { HttpRequestError } from '../../net/http-error.ts';
import { maskPasswords } from '../../net/mask-passwords.ts';
import { proxyRulesFrom } from '../settings/proxies.ts';
import type { Config } from '../settings/settings.ts';
import { type Finding, finding } from './finding.ts';

const timeoutSeconds = 10;

/** Tokens of registries are refused with more than a minute. */
const tolerableSeconds = 60;
/** More than this is no drift: the clock was not set. */
const unsetSeconds = 3600;

/**
 * Compares the clock with the web servers that the machine uses anyway, by the header `Date` of
 * their answers. Nothing is believed but a time, so certificates are not verified.
 */
export async function checkClock(config: Config, clock: Clock, signal: AbortSignal): Promise<Finding> {
  const sources = sourcesOf(config);
  for (const url of sources) {
    const seconds = await aheadOf(url, config, clock, signal);
    if (seconds === undefined) continue;
    const place = maskPasswords(url.origin);
    const size = Math.abs(seconds);
    if (size <= tolerableSeconds) return finding('clock', 'ok', `it agrees with ${place}`);
    const text = `it shows ${clock.now().toISOString()}, ${size} s ${seconds > 0 ? 'ahead of' : 'behind'} ${place}`;
    return finding('clock', size > unsetSeconds ? 'error' : 'warning', text, { advice });
  }
  const why = sources.length === 0 ? 'the configuration names no web server' : 'no web server of it tells the time';
  return finding('clock', 'unchecked', `it shows ${clock.now().toISOString()}, and ${why}`);
}

const advice =
  'set the clock, or give the machine a time server by DHCP option 42 or ntp_servers= on the kernel command line';

/** The certificate URL, and the registry with TLS and without. */
function sourcesOf({ certUrl, dockerRegistry }: Config): URL[] {
  const host = dockerRegistry?.replace(/^https?:\/\//, '').split('/')[0];
  const registry = host === undefined ? [] : [`https://${host}/v2/`, `http://${host}/v2/`];
  return [...(certUrl === undefined ? [] : [certUrl]), ...registry].flatMap((url) => URL.parse(url) ?? []);
}

/** @returns whole seconds by which the clock is ahead; `undefined`: the server tells no time */
async function aheadOf(url: URL, config: Config, clock: Clock, signal: AbortSignal): Promise<number | undefined> {
  using client = createHttpClient({
    ...{ clock, timeoutSeconds, proxy: proxyRulesFrom(config) },
    tls: () => ({ rejectUnauthorized: false }),
  });
  try {
    const response = await client.request({ url, method: 'HEAD' }, signal);
    response.discard();
    const time = Date.parse(response.headers.date ?? '');
    return Number.isNaN(time) ? undefined : Math.round((clock.now().getTime() - time) / 1000);
  } catch (error) {
    if (!(error instanceof HttpRequestError)) throw error;
    return undefined;
  }
}
