import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { addressOfProxy, createProxyRules, parseProxy, proxySettingsOf, targetOf } from '../../net/proxy.ts';
import table from './proxy-table.json' with { type: 'json' };

type Row = readonly [environment: Readonly<Record<string, string>>, target: string, proxy: string | null];

const proxyFor = (environment: Readonly<Record<string, string>>, target: string) =>
  createProxyRules(proxySettingsOf(environment))(targetOf(new URL(target)))?.href;

/** Made by Go itself: proxy-table/main.go. */
describe('createProxyRules() decides as Go does', () => {
  for (const [environment, target, proxy] of table as unknown as readonly Row[]) {
    // Spaces between entries are as in curl.
    if (/\w \w/.test(environment['NO_PROXY'] ?? '')) continue;
    test(`${target} with ${JSON.stringify(environment)}: ${proxy ?? 'directly'}`, () => {
      assert.equal(proxyFor(environment, target), proxy === null ? undefined : new URL(proxy).href);
    });
  }

  test('the table has not been lost', () => {
    assert.ok(table.length >= 60);
  });
});

test('createProxyRules() understands brackets around an address of IPv6 without a port, which Go does not', () => {
  const environment = { HTTP_PROXY: 'http://p:1', NO_PROXY: '[fd00::1], [fd00::2]:8080' };
  const targets = ['http://[fd00::1]/', 'http://[fd00::1]:8080/', 'http://[fd00::2]/', 'http://[fd00::2]:8080/'];
  assert.deepEqual(
    targets.map((target) => proxyFor(environment, target) === undefined),
    [true, true, false, true],
  );
});

test('createProxyRules() takes spaces in NO_PROXY as curl does, and ALL_PROXY for what has no other', () => {
  const environment = {
    all_proxy: 'all:1',
    HTTPS_PROXY: 'https:2',
    no_proxy: 'a.example b.example, .c.example  10.0.0.0/8',
  };
  const of = (target: string) => proxyFor(environment, target);
  assert.deepEqual(['http://x.example', 'https://x.example', 'http://a.example', 'https://sub.b.example'].map(of), [
    'http://all:1/',
    'http://https:2/',
    undefined,
    undefined,
  ]);
  assert.deepEqual(['http://c.example', 'http://d.c.example', 'https://10.1.2.3'].map(of), [
    'http://all:1/',
    undefined,
    undefined,
  ]);
});

test('createProxyRules() takes no notice of the zone of an address', () => {
  const rules = createProxyRules({ httpsProxy: 'p:1', noProxy: 'fe80::/10' });
  assert.equal(rules({ protocol: 'https:', host: 'fe80::1%eth0', port: 42113 }), undefined);
});

test('parseProxy() takes SOCKS 5, and addressOfProxy() knows its port', () => {
  for (const text of ['socks5://me:secret@proxy', 'socks5h://proxy:1080']) {
    assert.deepEqual(addressOfProxy(parseProxy(text)), { host: 'proxy', port: 1080 });
  }
  assert.deepEqual(addressOfProxy(parseProxy('socks5://[fd00::1]:9')), { host: 'fd00::1', port: 9 });
  assert.equal(addressOfProxy(parseProxy('proxy')).port, 80);
});

for (const text of ['socks4://proxy:1080', 'socks://proxy:1080', 'ftp://proxy']) {
  test(`parseProxy() refuses ${text} by its protocol`, () => {
    assert.throws(() => parseProxy(text), {
      name: 'ProxyError',
      message: /; proxies that speak \w+ are not supported$/,
    });
  });
}

for (const text of ['http://', 'socks5://', 'a b', 'http://proxy:port', ':3128', 'user:secret@']) {
  test(`parseProxy() refuses ${text}`, () => {
    assert.throws(() => parseProxy(text), {
      name: 'ProxyError',
      message: 'must be [http://][user:password@]host[:port]',
    });
  });
}

test('parseProxy() refuses a user or password that is not encoded as in a URL', () => {
  for (const text of ['http://user:100%@proxy:3128', 'socks5://%zz:secret@proxy'])
    assert.throws(() => parseProxy(text), {
      name: 'ProxyError',
      message: 'must be [http://][user:password@]host[:port]; a % in user or password is written as %25',
    });
  assert.equal(parseProxy('http://user:100%25@proxy:3128').password, '100%25');
});
