import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { systemClock } from '../../clock/system.ts';
import { parseChallenges } from '../../registry/authorization.ts';
import { RegistryError } from '../../registry/connection.ts';
import { type RegistryHost, registryHosts } from '../../registry/hosts.ts';
import type { RegistryLogin } from '../../registry/login.ts';
import { Repository, WrongContentError } from '../../registry/repository.ts';
import { addLoopbackAddress, type LoopbackAddress } from '../sandbox/added-address.ts';
import { type CertificateAuthority, createCertificateAuthority } from '../sandbox/certificates.ts';
import { startConnectProxy } from '../sandbox/connect-proxy.ts';
import { digestOf, type FakeRegistryOptions, refuse, startFakeRegistry } from '../sandbox/fake-registry.ts';
import { type Image, makeImage } from '../sandbox/image.ts';
import { type Registry, startRegistry } from '../sandbox/registry.ts';

const never = new AbortController().signal;
const image: Image = makeImage([Buffer.alloc(1024)], {});
/** Not compressible: large enough to be in no buffer as a whole. */
const large = randomBytes(24 * 1024 * 1024);
const largeDescriptor = { digest: digestOf(large), size: large.length };
const password = 'canary-password';
let authority: CertificateAuthority;
/** Not an address of loopback for registry clients: certificates are verified. */
let remote: LoopbackAddress;
let registry: Registry;

before(async () => {
  [authority, remote] = await Promise.all([createCertificateAuthority(), addLoopbackAddress()]);
  registry = await startRegistry({ address: remote.address, authority, username: 'me', password });
  await registry.push('tools/thing:1', image);
});
after(async () => {
  await registry[Symbol.asyncDispose]();
  await remote[Symbol.asyncDispose]();
});

function login(): RegistryLogin {
  return { username: 'me', password };
}

/**
 * A repository as a hosts.toml for its registry describes it; the authority is in the file `ca.pem`
 * beside that.
 */
async function open(
  test: TestContext,
  host: string,
  options: { authentication?: RegistryLogin; toml?: string; idleTimeoutSeconds?: number } = {},
): Promise<Repository> {
  const registryConfigPath = await mkdtemp(join(tmpdir(), 'nibs-registry-test-'));
  test.after(() => rm(registryConfigPath, { recursive: true }));
  if (options.toml !== undefined) {
    await mkdir(join(registryConfigPath, host));
    await writeFile(join(registryConfigPath, host, 'hosts.toml'), options.toml);
    await writeFile(join(registryConfigPath, host, 'ca.pem'), authority.certificate);
  }
  const hosts: RegistryHost[] = await registryHosts(host, { registryConfigPath });
  const repository = new Repository(
    'tools/thing',
    host,
    hosts,
    options.authentication,
    systemClock,
    options.idleTimeoutSeconds,
  );
  test.after(() => repository[Symbol.dispose]());
  return repository;
}

async function fake(test: TestContext, options: FakeRegistryOptions = {}) {
  const server = await startFakeRegistry(options);
  test.after(() => server[Symbol.asyncDispose]());
  server.put('tools/thing:1', image);
  server.putBlob('tools/thing', large);
  return server;
}

/** A fake at an address where certificates count. */
async function secureFake(test: TestContext, instead?: FakeRegistryOptions['instead']) {
  const certificate = await authority.issue([remote.address]);
  return await fake(test, { address: remote.address, certificate, ...(instead && { instead }) });
}

async function collect(content: AsyncIterable<Buffer>): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(content));
}

function rejectsWith(promise: Promise<unknown>, ...patterns: readonly RegExp[]): Promise<void> {
  return assert.rejects(promise, (error: Error) => {
    assert.ok(error instanceof RegistryError, String(error.stack));
    for (const pattern of patterns) assert.match(error.message, pattern);
    assert.doesNotMatch(`${error.stack}`, /canary/, 'no credentials in what people read');
    return true;
  });
}

test('Repository gets manifests and blobs with the password, over TLS by a private authority', async (test) => {
  const repository = await open(test, registry.host, {
    authentication: login(),
    toml: 'ca = "ca.pem"',
  });
  for (const name of ['1', image.digest]) {
    const { bytes, digest, mediaType } = await repository.manifest(name, never);
    assert.deepEqual(bytes, image.manifest);
    assert.equal(digest, image.digest);
    assert.equal(mediaType, image.mediaType);
  }
  const layer = image.layers[0] as Buffer;
  const descriptor = { digest: digestOf(layer), size: layer.length };
  assert.deepEqual(await repository.blob(descriptor, collect, never), layer);
});

test('Repository reports a wrong and a missing password in the words of Docker', async (test) => {
  const toml = 'ca = "ca.pem"';
  const wrong = { username: 'me', password: 'canary-wrong' };
  for (const authentication of [wrong, undefined]) {
    const repository = await open(test, registry.host, { toml, ...(authentication && { authentication }) });
    const url = new RegExp(`https://${registry.host}/v2/tools/thing/manifests/1 answered 401`);
    await rejectsWith(repository.manifest('1', never), /^unauthorized: authentication required/, url);
  }
});

test('Repository reports an unknown tag and blob in the words of Docker', async (test) => {
  const authentication = login();
  const repository = await open(test, registry.host, { authentication, toml: 'ca = "ca.pem"' });
  await rejectsWith(
    repository.manifest('2', never),
    /^manifest unknown: .*\/manifests\/2 answered 404: manifest unknown/,
  );
  await rejectsWith(repository.blob(largeDescriptor, collect, never), /^blob not found: .* answered 404: blob unknown/);
});

test("Repository passes on the registry's reason of a refusal, without the password in it", async (test) => {
  const server = await fake(test, {
    instead: (_, response) => refuse(response, 403, 'DENIED', `repository ${password} is private`),
  });
  const repository = await open(test, server.host, { authentication: login() });
  await rejectsWith(repository.manifest('1', never), /^denied: .*answered 403: repository \*\*\* is private$/);
});

test('Repository does not trust an unknown certificate authority', async (test) => {
  const repository = await open(test, registry.host);
  await rejectsWith(repository.manifest('1', never), /x509: .*certificate/, new RegExp(registry.host));
});

test('Repository does not verify the certificate with skip_verify in hosts.toml', async (test) => {
  const authentication = login();
  const repository = await open(test, registry.host, { authentication, toml: 'skip_verify = true' });
  assert.equal((await repository.manifest('1', never)).digest, image.digest);
});

test('Repository uses plain HTTP only with this machine and with hosts that hosts.toml names so', async (test) => {
  const server = await fake(test, { address: remote.address });
  const repository = await open(test, server.host);
  await rejectsWith(repository.manifest('1', never), /server gave HTTP response to HTTPS client/);
  assert.equal(server.requests.length, 0);

  const local = await fake(test);
  assert.equal((await (await open(test, local.host)).manifest('1', never)).digest, image.digest);
  const named = await open(test, server.host, { toml: `server = "${server.url}"` });
  assert.equal((await named.manifest('1', never)).digest, image.digest);
});

test('Repository does not verify certificates of this machine', async (test) => {
  const own = await startRegistry({ username: 'me', password });
  test.after(() => own[Symbol.asyncDispose]());
  await own.push('tools/thing:1', image);
  const repository = await open(test, own.host, { authentication: login() });
  assert.equal((await repository.manifest('1', never)).digest, image.digest);
});

test('Repository rejects content with another digest', async (test) => {
  const forged = Buffer.from(image.manifest);
  forged[0] = 0x20;
  const server = await fake(test, {
    instead: ({ path }, response) => {
      if (path.includes('/manifests/sha256')) response.end(forged);
      else if (path.includes('/blobs/')) response.end(Buffer.alloc(large.length));
      else return false;
      return true;
    },
  });
  const repository = await open(test, server.host);
  await rejectsWith(repository.manifest(image.digest, never), /wrong content: its digest is sha256:/);
  await rejectsWith(repository.blob(largeDescriptor, collect, never), /wrong content: its digest is sha256:/);
  const shorter = { ...largeDescriptor, size: large.length - 1 };
  await rejectsWith(repository.blob(shorter, collect, never), /is larger than/);
  const longer = { ...largeDescriptor, size: large.length + 1 };
  await rejectsWith(repository.blob(longer, collect, never), /has \d+ of \d+ bytes/);
});

/** A token service and the registry that trusts it. */
function withTokens(service: () => string, isRightToken: (path: string, token: string | undefined) => boolean) {
  return (request: { path: string; headers: { authorization?: string | undefined } }, response: ServerResponse) => {
    if (!request.path.startsWith('/v2/') || isRightToken(request.path, request.headers.authorization)) return false;
    const challenge = `Bearer realm="${service()}/token?x=1",service="the, service",scope="repository:tools/thing:pull"`;
    response.setHeader('www-authenticate', challenge);
    return refuse(response, 401, 'UNAUTHORIZED', 'a token, please');
  };
}

const tokenService: NonNullable<FakeRegistryOptions['instead']> = ({ path }, response) => {
  if (path !== '/token') return false;
  response.end(JSON.stringify({ access_token: 'canary-token' }));
  return true;
};

test('Repository fetches a token with its credentials, once, and shows the registry nothing but the token', async (test) => {
  const service = await secureFake(test, tokenService);
  const server = await secureFake(
    test,
    withTokens(
      () => service.url,
      (_, token) => token === 'Bearer canary-token',
    ),
  );
  const authentication = login();
  const repository = await open(test, server.host, { authentication, toml: 'ca = "ca.pem"' });
  await repository.manifest('1', never);
  assert.deepEqual(await repository.blob(largeDescriptor, collect, never), large);

  const [asked, ...more] = service.requests;
  assert.equal(more.length, 0);
  assert.deepEqual(
    [...(asked?.query ?? [])],
    [
      ['x', '1'],
      ['service', 'the, service'],
      ['scope', 'repository:tools/thing:pull'],
    ],
  );
  assert.equal(asked?.headers.authorization, `Basic ${Buffer.from(`me:${password}`).toString('base64')}`);
  const shown = server.requests.map(({ headers }) => headers.authorization);
  assert.deepEqual(shown, [undefined, 'Bearer canary-token', 'Bearer canary-token']);
});

test('Repository fetches a new token when the old one has expired', async (test) => {
  let token = 0;
  const service = await secureFake(test, ({ path }, response) => {
    if (path === '/token') response.end(JSON.stringify({ token: `canary-${++token}` }));
    return path === '/token';
  });
  const isRight = (path: string, shown?: string) =>
    shown === (path.includes('blobs') ? 'Bearer canary-2' : 'Bearer canary-1');
  const server = await secureFake(
    test,
    withTokens(() => service.url, isRight),
  );
  const repository = await open(test, server.host, { toml: 'ca = "ca.pem"' });
  await repository.manifest('1', never);
  assert.deepEqual(await repository.blob(largeDescriptor, collect, never), large);
});

test('Repository exchanges an identity token for a token', async (test) => {
  const service = await secureFake(test, tokenService);
  const server = await secureFake(
    test,
    withTokens(
      () => service.url,
      (_, token) => token === 'Bearer canary-token',
    ),
  );
  const authentication = { identityToken: 'canary-identity' };
  const repository = await open(test, server.host, { authentication, toml: 'ca = "ca.pem"' });
  await repository.manifest('1', never);
  const [asked] = service.requests;
  assert.equal(asked?.method, 'POST');
  assert.equal(asked?.headers.authorization, undefined);
  assert.deepEqual(Object.fromEntries(new URLSearchParams(asked?.body)), {
    grant_type: 'refresh_token',
    client_id: 'nibs',
    service: 'the, service',
    scope: 'repository:tools/thing:pull',
    refresh_token: 'canary-identity',
  });
});

test('Repository reports a token service that refuses, or sends no token', async (test) => {
  const refusing = await secureFake(test, (_, response) => {
    response.statusCode = 401;
    response.end(JSON.stringify({ details: `wrong password ${password}` }));
    return true;
  });
  const empty = await secureFake(test, (_, response) => {
    response.end('{}');
    return true;
  });
  let service = refusing;
  const server = await secureFake(
    test,
    withTokens(
      () => service.url,
      () => false,
    ),
  );
  const options = { authentication: login(), toml: 'ca = "ca.pem"' };
  const refused = (await open(test, server.host, options)).manifest('1', never);
  await rejectsWith(
    refused,
    new RegExp(`^unauthorized: .*${refusing.url}/token answered 401: wrong password \\*\\*\\*$`),
  );
  service = empty;
  await rejectsWith((await open(test, server.host, options)).manifest('1', never), /answered without a token/);
});

test('Repository sends no credentials without TLS to a token service that a registry names over TLS', async (test) => {
  const service = await fake(test, { instead: tokenService });
  const server = await secureFake(
    test,
    withTokens(
      () => service.url,
      (_, token) => token === 'Bearer canary-token',
    ),
  );
  const toml = 'ca = "ca.pem"';
  const authentication = login();
  const repository = await open(test, server.host, { authentication, toml });
  await rejectsWith(repository.manifest('1', never), /refusing to send credentials without TLS/);
  assert.equal(service.requests.length, 0);
  const anonymous = await open(test, server.host, { toml });
  assert.equal((await anonymous.manifest('1', never)).digest, image.digest);
});

test('Repository follows a redirection to another server without its credentials and its own headers', async (test) => {
  const storage = await fake(test, { instead: ({ path }, response) => path === '/storage' && !!response.end(large) });
  const server = await fake(test, {
    instead: ({ path }, response) => {
      if (!path.includes('/blobs/')) return false;
      response.writeHead(307, { location: `${storage.url}/storage?signature=canary-signature` }).end();
      return true;
    },
  });
  const withPassword = await fake(test, {
    instead: ({ headers, path }, response) => {
      if (headers.authorization === undefined) {
        response.setHeader('www-authenticate', 'Basic realm="x"');
        return refuse(response, 401, 'UNAUTHORIZED', 'who are you?');
      }
      if (path.includes('/blobs/')) response.writeHead(307, { location: `${server.url}${path}` }).end();
      return path.includes('/blobs/');
    },
  });
  const authentication = login();
  const toml = `server = "${withPassword.url}"\nheader = { x-secret = "canary-header" }`;
  const repository = await open(test, withPassword.host, { authentication, toml });
  await repository.manifest('1', never);
  assert.deepEqual(await repository.blob(largeDescriptor, collect, never), large);
  assert.equal(withPassword.requests.at(-1)?.headers['x-secret'], 'canary-header');
  for (const { headers } of [...server.requests, ...storage.requests]) {
    assert.equal(headers.authorization, undefined);
    assert.equal(headers['x-secret'], undefined);
  }
  assert.equal(storage.requests.length, 1);
});

test('Repository does not answer the challenge of a server that it was redirected to', async (test) => {
  const thief = await fake(test, {
    instead: (_, response) => {
      response.setHeader('www-authenticate', 'Basic realm="x"');
      return refuse(response, 401, 'UNAUTHORIZED', 'your password?');
    },
  });
  const server = await fake(test, {
    instead: ({ path }, response) => !!response.writeHead(302, { location: `${thief.url}${path}` }).end(),
  });
  const repository = await open(test, server.host, { authentication: login() });
  await rejectsWith(repository.manifest('1', never), /unauthorized/);
  assert.deepEqual(
    thief.requests.map(({ headers }) => headers.authorization),
    [undefined],
  );
});

test('Repository ends after too many redirections', async (test) => {
  const server = await fake(test, {
    instead: ({ path }, response) => !!response.writeHead(302, { location: path }).end(),
  });
  await rejectsWith((await open(test, server.host)).manifest('1', never), /more than 20 redirects/);
  assert.equal(server.requests.length, 21);
});

test('Repository asks a mirror first, never with credentials, and names the registry whose images it requests', async (test) => {
  const server = await fake(test);
  const mirror = await fake(test);
  const toml = `server = "${server.url}"\n[host."${mirror.url}"]`;
  const repository = await open(test, server.host, { authentication: login(), toml });
  assert.equal((await repository.manifest('1', never)).digest, image.digest);
  assert.deepEqual(await repository.blob(largeDescriptor, collect, never), large);
  assert.equal(server.requests.length, 0);
  for (const { query } of mirror.requests) assert.equal(query.get('ns'), server.host);
});

test('Repository falls back to the registry when a mirror wants credentials, which it does not get', async (test) => {
  const server = await fake(test, {
    instead: ({ headers }, response) => {
      if (headers.authorization !== undefined) return false;
      response.setHeader('www-authenticate', 'Basic realm="x"');
      return refuse(response, 401, 'UNAUTHORIZED', 'who are you?');
    },
  });
  for (const challenge of ['Basic realm="x"', undefined]) {
    const mirror = await fake(test, {
      instead: ({ path }, response) => {
        if (tokenService({ path } as never, response)) return true;
        response.setHeader('www-authenticate', challenge ?? `Bearer realm="${mirror.url}/token"`);
        return refuse(response, 401, 'UNAUTHORIZED', 'your password?');
      },
    });
    const toml = `server = "${server.url}"\n[host."${mirror.url}"]`;
    const repository = await open(test, server.host, { authentication: login(), toml });
    assert.equal((await repository.manifest('1', never)).digest, image.digest);
    assert.ok(mirror.requests.length > 0);
    for (const { headers, body, query } of mirror.requests) {
      const everything = JSON.stringify([headers, body, [...query]]);
      assert.doesNotMatch(everything, /canary-password/);
      assert.ok(!everything.includes(Buffer.from(`me:${password}`).toString('base64')));
    }
  }
});

/** Sends a part of the large blob and then does something to the connection. */
function breakingOff(afterwards: (response: ServerResponse) => void): NonNullable<FakeRegistryOptions['instead']> {
  return ({ path }, response) => {
    if (!path.includes('/blobs/')) return false;
    response.writeHead(200, { 'content-length': large.length });
    response.write(large.subarray(0, 1024 * 1024), () => afterwards(response));
    return true;
  };
}

test('Repository starts again at the next host when one breaks off or sends wrong content, and avoids it from then on', async (test) => {
  const faults = [
    breakingOff((response) => response.socket?.destroy()),
    (({ path }, response) =>
      path.includes('/blobs/') && !!response.end(Buffer.alloc(large.length))) as FakeRegistryOptions['instead'],
  ];
  for (const instead of faults) {
    const server = await fake(test);
    const mirror = await fake(test, { ...(instead && { instead }) });
    const repository = await open(test, server.host, { toml: `server = "${server.url}"\n[host."${mirror.url}"]` });
    for (let time = 1; time <= 2; time++) {
      assert.deepEqual(await repository.blob(largeDescriptor, collect, never), large);
      assert.equal(mirror.requests.length, 1);
      assert.equal(server.requests.length, time);
    }
  }
});

/** What a hostile mirror answers; each is a failure of that mirror alone. */
const hostileAnswers: Readonly<Record<string, NonNullable<FakeRegistryOptions['instead']>>> = {
  'a redirection to a file': (_, response) => !!response.writeHead(302, { location: 'file:///etc/shadow' }).end(),
  'a redirection to another protocol': (_, response) => !!response.writeHead(307, { location: 'ftp://host/x' }).end(),
  'a redirection to no URL': (_, response) => !!response.writeHead(302, { location: 'http://[' }).end(),
  'a token service that is a file': (_, response) => {
    response.setHeader('www-authenticate', 'Bearer realm="file:///etc/shadow"');
    return refuse(response, 401, 'UNAUTHORIZED', 'a token, please');
  },
  'a token service that is no URL': (_, response) => {
    response.setHeader('www-authenticate', 'Bearer realm="//"');
    return refuse(response, 401, 'UNAUTHORIZED', 'a token, please');
  },
  'a token with a line end': ({ path, headers }, response) => {
    if (path === '/token') return !!response.end(JSON.stringify({ token: 'a\r\nx-injected: b' }));
    response.setHeader('www-authenticate', `Bearer realm="http://${headers.host}/token"`);
    return refuse(response, 401, 'UNAUTHORIZED', 'a token, please');
  },
  'a digest of an algorithm that proves nothing': (_, response) =>
    !!response.writeHead(200, { 'docker-content-digest': `md5:${'0'.repeat(32)}` }).end(image.manifest),
  'a digest that is a path': (_, response) =>
    !!response.writeHead(200, { 'docker-content-digest': 'sha256:../../x' }).end(image.manifest),
};

for (const [name, instead] of Object.entries(hostileAnswers)) {
  test(`Repository asks the next host after ${name}, and a registry's own is a plain error`, async (test) => {
    const [mirror, server] = [await fake(test, { instead }), await fake(test)];
    const toml = `server = "${server.url}"\n[host."${mirror.url}"]`;
    const repository = await open(test, server.host, { toml });
    assert.equal((await repository.manifest('1', never)).digest, image.digest);
    assert.ok(mirror.requests.length > 0 && server.requests.length > 0);
    for (const { headers } of mirror.requests) assert.equal(headers['x-injected'], undefined);
    const alone = await open(test, mirror.host);
    // biome-ignore lint/suspicious/noControlCharactersInRegex: what must not be there
    await rejectsWith(alone.manifest('1', never), /^[^\u0000-\u001f]{10,300}$/);
  });
}

test('Repository asks for no blob whose digest is a path or of an unknown algorithm', async (test) => {
  const server = await fake(test);
  const repository = await open(test, server.host);
  for (const digest of [
    'sha256:../../../x',
    `md5:${'0'.repeat(32)}`,
    `sha256:${'0'.repeat(63)}`,
    `sha512:${'0'.repeat(64)}`,
  ])
    await rejectsWith(repository.blob({ digest, size: 1 }, collect, never), /^unsupported digest: /);
  assert.equal(server.requests.length, 0);
});

test('Repository asks a mirror for no tag if hosts.toml does not say that it can resolve', async (test) => {
  const server = await fake(test);
  const mirror = await fake(test);
  const toml = `server = "${server.url}"\n[host."${mirror.url}"]\ncapabilities = ["pull"]`;
  const repository = await open(test, server.host, { toml });
  await repository.manifest('1', never);
  assert.equal(mirror.requests.length, 0);
  await repository.manifest(image.digest, never);
  assert.equal(mirror.requests.length, 1);
});

test('Repository reports the error of the registry, not of a mirror, when no host has the image', async (test) => {
  const server = await fake(test);
  const mirror = await fake(test, { instead: (_, response) => refuse(response, 500, 'UNKNOWN', 'broken') });
  const repository = await open(test, server.host, { toml: `server = "${server.url}"\n[host."${mirror.url}"]` });
  await rejectsWith(repository.manifest('2', never), new RegExp(`^manifest unknown: ${server.url}`));
  assert.ok(mirror.requests.length > 0);
});

test('Repository ends its wait for a server that sends nothing, at any stage', async (test) => {
  const mute = createServer(() => {});
  mute.listen(0, remote.address);
  await once(mute, 'listening');
  test.after(() => void mute.close());
  const host = `${remote.address}:${(mute.address() as AddressInfo).port}`;
  await rejectsWith(
    (await open(test, host, { idleTimeoutSeconds: 0.5 })).manifest('1', never),
    /timed out after 0.5 s without data/,
  );

  const slow = await fake(test, { instead: breakingOff(() => {}) });
  const repository = await open(test, slow.host, { idleTimeoutSeconds: 0.5 });
  await rejectsWith(repository.blob(largeDescriptor, collect, never), /timed out after 0.5 s without data/);
});

test('Repository stops at once when the signal is aborted amid a blob, or before any answer', async (test) => {
  let stop = new AbortController();
  const abort = () => stop.abort(new Error('enough'));
  const beforeAnyAnswer = () => {
    abort();
    return true;
  };
  for (const instead of [breakingOff(abort), beforeAnyAnswer]) {
    stop = new AbortController();
    const server = await fake(test, { instead });
    const repository = await open(test, server.host, { toml: `server = "${server.url}"` });
    const startedAt = performance.now();
    await assert.rejects(repository.blob(largeDescriptor, collect, stop.signal), /^Error: enough$/);
    assert.ok(performance.now() - startedAt < 2000);
  }
});

test('Repository uses the proxy of the environment, and ends its wait for one that does not answer', async (test) => {
  await using proxy = await startConnectProxy({ hosts: { 'registry.example': remote.address } });
  await using mute = await startConnectProxy({ silent: true });
  const certificate = await authority.issue(['registry.example']);
  const server = await fake(test, { address: remote.address, certificate });
  const host = `registry.example:${server.host.split(':')[1]}`;
  test.after(() => void delete process.env['https_proxy']);
  process.env['https_proxy'] = `http://${proxy.host}`;
  const repository = await open(test, host, { toml: 'ca = "ca.pem"' });
  assert.equal((await repository.manifest('1', never)).digest, image.digest);
  assert.deepEqual(proxy.tunnels, [host]);

  process.env['https_proxy'] = `http://${mute.host}`;
  const stuck = await open(test, host, { toml: 'ca = "ca.pem"', idleTimeoutSeconds: 0.5 });
  await rejectsWith(stuck.manifest('1', never), /timed out/);
  await assert.rejects(stuck.manifest('1', AbortSignal.abort(new Error('enough'))), /enough/);
});

test('Repository goes directly to a registry in a network of NO_PROXY, and by a proxy without a scheme to others', async (test) => {
  await using proxy = await startConnectProxy({ hosts: { 'registry.example': remote.address } });
  const certificate = await authority.issue(['registry.example', remote.address]);
  const server = await fake(test, { address: remote.address, certificate });
  const variables = { HTTPS_PROXY: proxy.host, NO_PROXY: `example.org, ${remote.address}/31,` };
  test.after(() => {
    for (const name of Object.keys(variables)) delete process.env[name];
  });
  Object.assign(process.env, variables);
  const behind = `registry.example:${server.host.split(':')[1]}`;
  for (const host of [server.host, behind]) {
    const repository = await open(test, host, { toml: 'ca = "ca.pem"' });
    assert.equal((await repository.manifest('1', never)).digest, image.digest);
  }
  assert.deepEqual(proxy.tunnels, [behind]);
});

/** Reads a blob with {@link Repository.read}. */
async function readAll(repository: Repository, descriptor = largeDescriptor, tries = 3) {
  const notices: string[] = [];
  const retries = { tries, pauseSeconds: () => 0, onRetry: (notice: string) => notices.push(notice) };
  const chunks: Buffer[] = [];
  for await (const chunk of repository.read(descriptor, retries, never)) chunks.push(chunk);
  return { bytes: Buffer.concat(chunks), notices };
}

/** Breaks off the response after so many bytes, from the byte that was asked for on. */
function cutAfter(count: number, withRanges: boolean) {
  return ({ headers }: { headers: NodeJS.Dict<string | string[]> }, response: ServerResponse) => {
    const start = withRanges ? Number(/^bytes=(\d+)-$/.exec(String(headers['range'] ?? ''))?.[1] ?? 0) : 0;
    const range = start > 0 ? { 'content-range': `bytes ${start}-${large.length - 1}/${large.length}` } : {};
    response.writeHead(start > 0 ? 206 : 200, { 'content-length': large.length - start, ...range });
    response.write(large.subarray(start, start + count), () => response.destroy());
  };
}

for (const withRanges of [true, false]) {
  test(`Repository.read() resumes a blob, each byte once, ${withRanges ? 'by ranges' : 'without ranges'}`, async (test) => {
    const cut = cutAfter(10 * 1024 * 1024, withRanges);
    let cuts = 0;
    const server = await fake(test, {
      instead(request, response) {
        // Without ranges a second response that breaks off at the same place brings nothing new.
        if (!request.path.includes('/blobs/') || cuts >= (withRanges ? 2 : 1)) return false;
        cuts++;
        cut(request, response);
        return true;
      },
    });
    server.putBlob('tools/thing', large);
    const repository = await open(test, server.host);
    const { bytes, notices } = await readAll(repository);
    assert.ok(bytes.equals(large));
    assert.equal(notices.length, cuts);
    assert.match(notices[0] ?? '', /; resuming after \d+ bytes$/);
    const ranges = server.requests.flatMap(({ headers }) => headers.range ?? []);
    assert.equal(ranges.length, cuts);
  });
}

test('Repository.read() ends when nothing new comes, and for a blob that is missing at once', async (test) => {
  let requests = 0;
  const server = await fake(test, {
    instead(request, response) {
      if (!request.path.includes('/blobs/') || request.path.endsWith('0'.repeat(64))) return false;
      requests++;
      response.destroy();
      return true;
    },
  });
  const repository = await open(test, server.host);
  await assert.rejects(readAll(repository), RegistryError);
  assert.equal(requests, 3);
  const before = server.requests.length;
  await assert.rejects(
    readAll(repository, { digest: `sha256:${'0'.repeat(64)}`, size: 7 }),
    /blob not found|blob unknown|404/i,
  );
  assert.equal(server.requests.length, before + 1);
});

test('Repository.read() reports wrong content at its end, and asks another host next', async (test) => {
  const wrong = Buffer.from(large);
  wrong.writeUInt8(wrong.readUInt8(1000) ^ 1, 1000);
  const mirror = await fake(test, {
    instead(request, response) {
      if (!request.path.includes('/blobs/')) return false;
      response.writeHead(200, { 'content-length': wrong.length }).end(wrong);
      return true;
    },
  });
  const server = await fake(test);
  server.putBlob('tools/thing', large);
  const toml = `server = "${server.url}"\n[host."${mirror.url}"]\n  capabilities = ["pull"]\n`;
  const repository = await open(test, server.host, { toml });
  await assert.rejects(readAll(repository), WrongContentError);
  assert.ok(repository.hasOtherHosts);
  assert.ok((await readAll(repository)).bytes.equals(large));
});

test('parseChallenges() takes several challenges, commas in quotes and escapes', () => {
  const header = 'Negotiate, Bearer realm="https://a.example/t?a=b",service="a, \\"b\\"", error=x, BASIC Realm="r"';
  assert.deepEqual(parseChallenges(header), [
    { scheme: 'negotiate', parameters: {} },
    { scheme: 'bearer', parameters: { realm: 'https://a.example/t?a=b', service: 'a, "b"', error: 'x' } },
    { scheme: 'basic', parameters: { realm: 'r' } },
  ]);
});
