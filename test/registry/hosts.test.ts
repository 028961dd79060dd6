import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { before, type TestContext, test } from 'node:test';
import { RegistryConfigError, registryHosts } from '../../registry/hosts.ts';
import { type Certificate, createCertificateAuthority } from '../sandbox/certificates.ts';

let authority: Certificate;
let client: Certificate;
before(async () => {
  const made = await createCertificateAuthority();
  authority = made;
  client = await made.issue(['client'], { usage: 'client' });
});

/** Writes files (path → content) into a directory that goes with the test. */
async function directoryWith(test: TestContext, files: Readonly<Record<string, string>>): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-hosts-'));
  test.after(() => rm(directory, { recursive: true }));
  for (const [name, content] of Object.entries(files)) {
    await mkdir(dirname(join(directory, name)), { recursive: true });
    await writeFile(join(directory, name), content);
  }
  return directory;
}

const nowhere = { registryConfigPath: '/nonexistent/certs.d' };

test('registryHosts() has the registry itself, over verified TLS, without a configuration', async () => {
  assert.deepEqual(await registryHosts('registry.example:5000', nowhere), [
    {
      url: new URL('https://registry.example:5000/v2'),
      ...{ isRegistry: true, resolves: true, pulls: true, allowsPlainHttp: false, headers: {} },
      tls: { authorities: [], clientCertificates: [], verify: true },
    },
  ]);
});

test('registryHosts() knows the address of Docker Hub', async () => {
  const [hub] = await registryHosts('docker.io', nowhere);
  assert.equal(hub?.url.href, 'https://registry-1.docker.io/v2');
  assert.equal(hub?.isRegistry, true);
});

for (const host of ['127.0.0.1', '127.200.3.4:5000', 'localhost:5000', '[::1]:5000']) {
  test(`registryHosts() takes ${host} without a certificate, or without TLS`, async () => {
    const [local] = await registryHosts(host, nowhere);
    assert.equal(local?.tls.verify, false);
    assert.equal(local?.allowsPlainHttp, true);
  });
}

for (const host of ['128.0.0.1', 'localhost.example', '[::2]']) {
  test(`registryHosts() does not take ${host} for this machine`, async () => {
    const [remote] = await registryHosts(host, nowhere);
    assert.equal(remote?.tls.verify, true);
    assert.equal(remote?.allowsPlainHttp, false);
  });
}

test('registryHosts() lists the mirrors of a hosts.toml in its order, and the server after them', async (test) => {
  const registryConfigPath = await directoryWith(test, {
    'docker.io/hosts.toml': `
server = "https://docker.io"
[host."https://zebra.example"]
  capabilities = ["Pull"]
  skip_verify = true
[host."http://ant.example:5000/prefix"]
  capabilities = ["pull", "resolve"]
  [host."http://ant.example:5000/prefix".header]
    x-one = "1"
    x-both = ["1", "2"]
[host."https://bee.example/api/images/"]
  override_path = true
`,
  });
  const hosts = await registryHosts('docker.io', { registryConfigPath });
  assert.deepEqual(
    hosts.map(({ url, resolves, pulls, isRegistry, tls }) => [url.href, resolves, pulls, isRegistry, tls.verify]),
    [
      ['https://zebra.example/v2', false, true, false, false],
      ['http://ant.example:5000/prefix/v2', true, true, false, true],
      ['https://bee.example/api/images', true, true, false, true],
      ['https://registry-1.docker.io/v2', true, true, true, true],
    ],
  );
  assert.deepEqual(hosts[1]?.headers, { 'x-one': ['1'], 'x-both': ['1', '2'] });
});

test('registryHosts() asks the registry itself last when hosts.toml names no server', async (test) => {
  const registryConfigPath = await directoryWith(test, {
    'registry.example/hosts.toml': 'ca = "ca.pem"\n[host."https://mirror.example"]\n',
    'registry.example/ca.pem': authority.certificate,
  });
  const hosts = await registryHosts('registry.example', { registryConfigPath });
  assert.deepEqual(
    hosts.map(({ url, isRegistry, tls }) => [url.href, isRegistry, tls.authorities]),
    [
      ['https://mirror.example/v2', false, []],
      ['https://registry.example/v2', true, [authority.certificate]],
    ],
  );
});

test('registryHosts() reads certificates from beside hosts.toml, in every form they can be named', async (test) => {
  const both = `${client.certificate}${client.key}`;
  const registryConfigPath = await directoryWith(test, {
    'one.example/hosts.toml': 'ca = ["a.pem", "b.pem"]\nclient = "both.pem"\n',
    'two.example/hosts.toml': 'client = [["client.cert", "client.key"], "both.pem"]\n',
    ...{ 'one.example/a.pem': authority.certificate, 'one.example/b.pem': client.certificate },
    ...{ 'one.example/both.pem': both, 'two.example/both.pem': both },
    ...{ 'two.example/client.cert': client.certificate, 'two.example/client.key': client.key },
  });
  const [one] = await registryHosts('one.example', { registryConfigPath });
  assert.deepEqual(one?.tls, {
    authorities: [authority.certificate, client.certificate],
    clientCertificates: [{ certificate: both, key: both }],
    verify: true,
  });
  const [two] = await registryHosts('two.example', { registryConfigPath });
  assert.deepEqual(two?.tls.clientCertificates, [
    { certificate: client.certificate, key: client.key },
    { certificate: both, key: both },
  ]);
});

test('registryHosts() finds a directory with a port, one spelled without a colon, and the default for the rest', async (test) => {
  const registryConfigPath = await directoryWith(test, {
    'a.example:5000/hosts.toml': 'server = "https://colon.example"',
    'b.example_5000_/hosts.toml': 'server = "https://underscore.example"',
    '_default/hosts.toml': '[host."https://default.example"]',
  });
  const first = async (host: string) => (await registryHosts(host, { registryConfigPath }))[0]?.url.hostname;
  assert.equal(await first('a.example:5000'), 'colon.example');
  assert.equal(await first('b.example:5000'), 'underscore.example');
  assert.equal(await first('c.example:5000'), 'default.example');
});

test('registryHosts() takes certificates named as Docker has them where there is no hosts.toml', async (test) => {
  const registryConfigPath = await directoryWith(test, {
    'registry.example/ca.crt': authority.certificate,
    'registry.example/me.cert': client.certificate,
    'registry.example/me.key': client.key,
  });
  const [host] = await registryHosts('registry.example', { registryConfigPath });
  assert.deepEqual(host?.tls, {
    authorities: [authority.certificate],
    clientCertificates: [{ certificate: client.certificate, key: client.key }],
    verify: true,
  });
});

test("registryHosts() falls back to the Docker Engine's certificates where a host has none of its own", async (test) => {
  const registryConfigPath = await directoryWith(test, {
    'registry.example/hosts.toml': '[host."https://mirror.example"]\nca = "own.pem"\n',
    'registry.example/own.pem': client.certificate,
  });
  const dockerCertsPath = await directoryWith(test, {
    'registry.example/ca.crt': authority.certificate,
    'mirror.example/ca.crt': authority.certificate,
    '127.0.0.1:5000/ca.crt': authority.certificate,
    'docker.io/ca.crt': authority.certificate,
  });
  const authorities = async (host: string) =>
    (await registryHosts(host, { registryConfigPath, dockerCertsPath })).map(({ tls }) => tls.authorities);
  assert.deepEqual(await authorities('registry.example'), [[client.certificate], [authority.certificate]]);
  assert.deepEqual(await authorities('docker.io'), [[authority.certificate]]);
  const [local] = await registryHosts('127.0.0.1:5000', { ...nowhere, dockerCertsPath });
  assert.equal(local?.tls.verify, true, 'a certificate authority for the host turns verification on');
  assert.equal(local?.allowsPlainHttp, false);
});

for (const [what, content, place] of [
  ['a text that is not TOML', 'server = "https://a.example"\n\nca = [', 'line 3'],
  ['a value of the wrong kind', 'server = "https://a.example"\nskip_verify = "yes"', 'line 2: skip_verify'],
  [
    'an unknown capability of a mirror',
    'capabilities = ["pull"]\n[host."https://m.example"]\n  override_path = true\n  capabilities = ["pull", "fly"]',
    'line 4: host.https://m.example.capabilities',
  ],
  ['a client that is no pair', 'client = [["one"]]', 'line 1: client'],
] as const) {
  test(`registryHosts() reports the file and line of ${what}`, async (test) => {
    const registryConfigPath = await directoryWith(test, { 'registry.example/hosts.toml': content });
    await assert.rejects(registryHosts('registry.example', { registryConfigPath }), (error: Error) => {
      assert.ok(error instanceof RegistryConfigError);
      const target = `${registryConfigPath}/registry.example/hosts.toml, ${place}`;
      assert.ok(error.message.startsWith(`cannot use ${target}`), error.message);
      assert.ok(!error.message.includes('\n'), error.message);
      return true;
    });
  });
}

test('registryHosts() names a certificate that is missing or invalid', async (test) => {
  const registryConfigPath = await directoryWith(test, {
    'a.example/hosts.toml': 'ca = "missing.pem"',
    'b.example/hosts.toml': 'ca = "hosts.toml"',
  });
  await assert.rejects(registryHosts('a.example', { registryConfigPath }), /cannot read .*\/a\.example\/missing\.pem/);
  await assert.rejects(registryHosts('b.example', { registryConfigPath }), /cannot use .*\/b\.example\/hosts\.toml/);
});
