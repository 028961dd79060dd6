import { createProxyRules, ProxyError, type ProxyRules } from '../../net/proxy.ts';
import type { Config } from './settings.ts';
import type { ProxyAddress } from './values.ts';

type ProxyConfig = Pick<Config, 'httpProxy' | 'httpsProxy' | 'allProxy' | 'proxyBypass'>;

/** The rules by which the agent's own connections use a proxy. */
export function proxyRulesFrom({
  allProxy,
  httpProxy = allProxy,
  httpsProxy = allProxy,
  proxyBypass,
}: ProxyConfig): ProxyRules {
  return createProxyRules({
    httpProxy: usable(httpProxy),
    httpsProxy: usable(httpsProxy),
    noProxy: proxyBypass,
  });
}

function usable(proxy: ProxyAddress | undefined): string | ProxyError | undefined {
  return proxy?.problem === undefined ? proxy?.url.reveal() : new ProxyError(proxy.problem);
}

/**
 * Puts the proxies into the environment, under their names in lower and upper case: connections to
 * registries and the commands that the agent starts take them from there.
 */
export function exportProxies(
  { allProxy, httpProxy = allProxy, httpsProxy = allProxy, proxyBypass }: ProxyConfig,
  environment: Record<string, string | undefined>,
): void {
  const proxies = {
    http_proxy: httpProxy?.url.reveal(),
    https_proxy: httpsProxy?.url.reveal(),
    no_proxy: proxyBypass,
  };
  for (const [lowerCase, value] of Object.entries(proxies)) {
    for (const name of [lowerCase, lowerCase.toUpperCase()]) {
      if (value === undefined) delete environment[name];
      else environment[name] = value;
    }
  }
}
