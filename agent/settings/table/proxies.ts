import { settingsOf } from '../names.ts';
import { proxyAddress, string } from '../values.ts';

const setting = settingsOf('Proxies');

export const proxySettings = {
  httpProxy: setting(proxyAddress().optional(), {
    name: 'http-proxy',
    description: 'Proxy for plain HTTP: a URL, or host:port.',
    value: 'URL',
    environment: ['http_proxy', 'HTTP_PROXY'],
    kernel: ['http_proxy', 'HTTP_PROXY'],
  }),
  httpsProxy: setting(proxyAddress().optional(), {
    name: 'https-proxy',
    description: 'Proxy for HTTPS and gRPC.',
    value: 'URL',
    environment: ['https_proxy', 'HTTPS_PROXY'],
    kernel: ['https_proxy', 'HTTPS_PROXY'],
  }),
  allProxy: setting(proxyAddress().optional(), {
    name: 'all-proxy',
    description: 'Proxy for what has none of these two.',
    value: 'URL',
    environment: ['all_proxy', 'ALL_PROXY'],
    kernel: ['all_proxy', 'ALL_PROXY'],
  }),
  proxyBypass: setting(string().optional(), {
    name: 'proxy-bypass',
    description:
      'Hosts to reach without a proxy, separated by commas: names (with their subdomains), .subdomains, addresses, networks (10.0.0.0/8), each also with a port; * for all.',
    value: 'HOSTS',
    environment: ['no_proxy', 'NO_PROXY'],
    kernel: ['no_proxy', 'NO_PROXY'],
  }),
};
