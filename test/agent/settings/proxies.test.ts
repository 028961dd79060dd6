import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArguments } from '../../../agent/settings/arguments.ts';
import { loadConfig } from '../../../agent/settings/config.ts';
import { secretsFrom } from '../../../agent/settings/credentials.ts';
import { exportProxies, proxyRulesFrom } from '../../../agent/settings/proxies.ts';
import { proxyRulesOf } from '../../../net/proxy.ts';

async function configWith(...flags: readonly string[]) {
  const usual = ['--id=m', '--grpc-server=h:1', '--kernel-command-line=/dev/null'];
  return (await loadConfig(parseArguments([...usual, ...flags]), {})).config;
}

test('exportProxies() sets the names in both cases, and removes those of proxies that are not set', async () => {
  const config = await configWith('--https-proxy=user:secret@proxy:3128', '--proxy-bypass=10.0.0.0/8');
  const environment: Record<string, string | undefined> = {
    HTTP_PROXY: 'http://old:1',
    http_proxy: 'http://old:1',
    A: 'b',
  };
  exportProxies(config, environment);
  const proxy = 'http://user:secret@proxy:3128/';
  assert.deepEqual(environment, {
    A: 'b',
    https_proxy: proxy,
    HTTPS_PROXY: proxy,
    no_proxy: '10.0.0.0/8',
    NO_PROXY: '10.0.0.0/8',
  });
});

test('proxyRulesFrom() uses the proxy for HTTPS, except for hosts of the bypass', async () => {
  const rules = proxyRulesFrom(await configWith('--https-proxy=proxy:3128', '--proxy-bypass=10.0.0.0/8'));
  assert.equal(rules({ protocol: 'https:', host: '192.0.2.1', port: 443 })?.host, 'proxy:3128');
  assert.equal(rules({ protocol: 'https:', host: '10.1.2.3', port: 443 }), undefined);
  assert.equal(rules({ protocol: 'http:', host: '192.0.2.1', port: 80 }), undefined);
});

test('proxyRulesFrom() connects to nothing past a proxy that cannot be used, but for the bypass', async () => {
  const environment = { HTTPS_PROXY: 'socks4://me:canary@proxy:1080', ALL_PROXY: 'other:1', NO_PROXY: '10.0.0.0/8' };
  const flags = parseArguments(['--id=m', '--grpc-server=h:1', '--kernel-command-line=/dev/null']);
  const { config, warnings } = await loadConfig(flags, environment);
  assert.match(warnings.join(), /^https-proxy .*; nothing that would go through it is connected to$/);
  const rules = proxyRulesFrom(config);
  assert.throws(
    () => rules({ protocol: 'https:', host: 'tink', port: 42113 }),
    (error: Error) => {
      assert.equal(error.name, 'ProxyError');
      assert.match(error.message, /^https-proxy \(environment variable HTTPS_PROXY\): must be .*socks4/);
      assert.doesNotMatch(error.message, /canary/);
      return true;
    },
  );
  assert.equal(rules({ protocol: 'https:', host: '10.1.2.3', port: 443 }), undefined);
  assert.equal(rules({ protocol: 'http:', host: 'tink', port: 80 })?.host, 'other:1');
  // Connections to registries take it from the environment, and refuse it too.
  const exported: Record<string, string | undefined> = {};
  exportProxies(config, exported);
  assert.throws(() => proxyRulesOf(exported)({ protocol: 'https:', host: 'registry', port: 443 }), /socks4/);
  assert.ok(secretsFrom(config).includes('canary'));
});

test('a proxy whose password has a lone % is named, and does not end the agent', async () => {
  const flags = parseArguments(['--id=m', '--grpc-server=h:1', '--kernel-command-line=/dev/null']);
  const { config, warnings } = await loadConfig(flags, { HTTPS_PROXY: 'http://me:100%canary@proxy:3128' });
  assert.match(warnings.join(), /^https-proxy .*: must be .*; a % in user or password is written as %25; it is /);
  assert.doesNotMatch(warnings.join(), /canary/);
  assert.ok(secretsFrom(config).includes('100%canary'));
});
