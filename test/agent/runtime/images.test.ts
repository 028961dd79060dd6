import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdir, mkdtemp, mkdtempDisposable, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createSocketServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { createDockerEngine } from '../../../agent/runtime/docker/engine.ts';
import { createDockerRuntime } from '../../../agent/runtime/docker/runtime.ts';
import { connectEngine } from '../../../agent/runtime/engine-connection.ts';
import type { RuntimeEvent } from '../../../agent/runtime/event.ts';
import { ensureImage, type ImageOptions } from '../../../agent/runtime/images.ts';
import { PullError } from '../../../agent/runtime/pull-error.ts';
import { UnreachableRegistries } from '../../../agent/runtime/unreachable-registries.ts';
import { systemClock } from '../../../clock/system.ts';
import { writeDockerArchive } from '../../../initramfs/additions/write-docker-archive.ts';
import type { PrefixRule } from '../../../registry/image-reference.ts';
import { addLoopbackAddress } from '../../sandbox/added-address.ts';
import { busyboxImage } from '../../sandbox/busybox-image.ts';
import { type Engine, startEngine } from '../../sandbox/engine.ts';
import { engineUnderTest } from '../../sandbox/engine-under-test.ts';
import type { Image } from '../../sandbox/image.ts';
import { loopbackAddress } from '../../sandbox/loopback-address.ts';
import { type Registry, startRegistry } from '../../sandbox/registry.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';
import { shell } from './runtime-fixture.ts';

const never = new AbortController().signal;
let engine: Engine;
let registry: Registry;
let image: Image;
before(async () => {
  [engine, registry, image] = await Promise.all([startEngine(), startRegistry(), busyboxImage()]);
  await registry.push('busybox:1', image);
});
after(() => Promise.all([engine[Symbol.asyncDispose](), registry[Symbol.asyncDispose]()]));

/** Requests an image; returns its name, the notices in order, and the progress reports. */
async function ensure(
  name: string,
  options: Partial<ImageOptions> = {},
  signal = never,
  onWarning = () => {},
  registryPrefix: PrefixRule = 'always',
  unreachable = new UnreachableRegistries(systemClock),
) {
  const notices: string[] = [];
  const progress: number[] = [];
  const given = { registry: registry.host, credentials: [registry], pullAttempts: 1, ...options };
  await using docker = createDockerEngine(engine.host);
  const result = await ensureImage(
    connectEngine(docker, engine.host, systemClock, () => {}),
    unreachable,
    { image: name, registryPrefix },
    given,
    {
      onPulling: (image) => void notices.push(`pulling ${image}`),
      onProgress: (_, { doneBytes, totalBytes }) => void progress.push(doneBytes / totalBytes),
      onPulled: (image) => void notices.push(`pulled ${image}`),
      onWarning: (message) => {
        notices.push(message);
        onWarning();
      },
    },
    signal,
  );
  return { result, notices, progress };
}

async function failure(name: string, options: Partial<ImageOptions> = {}): Promise<string> {
  const error = await ensure(name, options).then(
    () => assert.fail('the image was pulled'),
    (error: unknown) => error,
  );
  assert.ok(error instanceof PullError, String(error));
  return error.message;
}

async function isPresent(reference: string): Promise<boolean> {
  const images = await engine.docker.listImages();
  return images.some(({ RepoTags }) => RepoTags?.includes(reference));
}

test('an image is pulled with the credentials of its registry', async () => {
  await registry.push('with/credentials:1', image);
  const name = `${registry.host}/with/credentials:1`;
  const { result, notices } = await ensure('with/credentials:1');
  assert.equal(result, name);
  assert.deepEqual(notices, [`pulling ${name}`, `pulled ${name}`]);
  assert.ok(await isPresent(name));
});

test('credentials stored by docker login are used', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-docker-config-'));
  const auth = Buffer.from(`${registry.username}:${registry.password}`).toString('base64');
  await writeFile(join(directory, 'config.json'), JSON.stringify({ auths: { [registry.host]: { auth } } }));
  await registry.push('stored/credentials:1', image);
  try {
    await ensure('stored/credentials:1', { credentials: [], dockerConfigDirectory: directory });
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('the message of a wrong password says so, without the password', async () => {
  const message = await failure('busybox:1', { credentials: [{ ...registry, password: 'canary' }] });
  assert.match(message, /cannot pull .*busybox:1: .*unauthorized/);
  assert.match(message, /refuses the credentials/);
  assert.doesNotMatch(message, /canary/);
});

test('missing credentials are named as such', async () => {
  assert.match(await failure('busybox:1', { credentials: [] }), /there are no credentials for 127\./);
});

test('an image that the registry does not have is an error', async () => {
  assert.match(await failure('busybox:missing'), /cannot pull .*busybox:missing: .*manifest unknown.*correct its name/);
  assert.match(await failure('nothing/here'), /cannot pull .*nothing\/here:latest: .*(not found|unknown|unauthorized)/);
});

test('a refusal is tried again once, an outage many times', async () => {
  const startedAt = performance.now();
  await failure('busybox:missing', { pullAttempts: 100 });
  assert.ok(performance.now() - startedAt < 10_000);

  await using other = await startRegistry();
  await other.push('late:1', image);
  await other.stop();
  const refused = Promise.withResolvers<void>();
  const options = { registry: other.host, credentials: [other], pullAttempts: 100 };
  const pulling = ensure('late:1', options, never, refused.resolve);
  await refused.promise;
  await other.start();
  const { notices } = await pulling;
  assert.match(notices[1] ?? '', /connection refused; trying again/);
  assert.equal(notices.length, 3, notices.join('\n'));
});

test('an image that is present is used when its registry cannot be reached', async () => {
  await using other = await startRegistry();
  const reference = await other.push('kept:1', image);
  const options = { registry: other.host, credentials: [other], pullAttempts: 100 };
  await ensure('kept:1', options);
  await other.stop();
  const { result, notices } = await ensure('kept:1', options);
  assert.equal(result, reference);
  assert.match(notices.at(-1) ?? '', /connection refused; using the local copy/);
  assert.match(await failure('gone:1', { ...options, pullAttempts: 2 }), /connection refused/);
});

test('a registry that cannot be reached is not asked again for a while where there is a copy, and is logged once', async () => {
  await using other = await startRegistry();
  const reference = await other.push('dead:1', image);
  const clock = new VirtualClock();
  const unreachable = new UnreachableRegistries(clock);
  const options = { registry: other.host, credentials: [other], pullAttempts: 100 };
  const again = () => ensure('dead:1', options, never, () => {}, 'always', unreachable);
  await again();
  await other.stop();
  const first = await again();
  assert.equal(first.notices.length, 2, first.notices.join('\n'));
  assert.match(first.notices[1] ?? '', /connection refused; using the local copy/);
  assert.deepEqual(await again(), { result: reference, notices: [], progress: [] });
  clock.advance(31);
  assert.deepEqual((await again()).notices, [`pulling ${reference}`]);
  clock.advance(31);
  await other.start();
  assert.deepEqual((await again()).notices, [`pulling ${reference}`, `pulled ${reference}`]);
  await other.stop();
  assert.match((await again()).notices[1] ?? '', /using the local copy/);
});

test('a mirror that cannot be reached is not asked again for a while', async () => {
  const unreachable = new UnreachableRegistries(systemClock);
  const options = { mirrors: [{ of: registry.host, at: '127.0.0.1:1' }] };
  const again = () => ensure('busybox:1', options, never, () => {}, 'always', unreachable);
  assert.match((await again()).notices[1] ?? '', /asking the next registry/);
  const name = `${registry.host}/busybox:1`;
  assert.deepEqual((await again()).notices, [`pulling ${name}`, `pulled ${name}`]);
});

test('an image named by its digest is pulled once and never asked for again', async () => {
  await registry.push('pinned:1', image);
  const name = `pinned:1@${image.digest}`;
  assert.equal((await ensure(name)).notices.length, 2);
  const { result, notices } = await ensure(name, { credentials: [] });
  assert.equal(result, `${registry.host}/pinned@${image.digest}`);
  assert.deepEqual(notices, []);
  const other = `pinned:1@sha256:${'0'.repeat(64)}`;
  assert.match(await failure(other), /manifest unknown|not found/);
});

test('credentials of one registry are not sent to another', async () => {
  const authorizations: (string | undefined)[] = [];
  const nosy = createServer((incoming, answer) => {
    authorizations.push(incoming.headers.authorization);
    answer.writeHead(401, { 'www-authenticate': 'Basic realm="tell me"' }).end();
  });
  nosy.listen(0, '127.0.0.1');
  await once(nosy, 'listening');
  const host = `127.0.0.1:${(nosy.address() as AddressInfo).port}`;
  try {
    await failure(`${host}/x:1`, { prefix: 'unqualified' });
    assert.ok(authorizations.length > 0);
    // Podman answers with an empty user name and an empty password.
    const none = engineUnderTest() === 'podman' ? [undefined, 'Basic Og=='] : [undefined];
    assert.deepEqual(new Set(authorizations), new Set(none));
    // The proof that they would have been seen.
    await failure(`${host}/x:1`, { prefix: 'unqualified', credentials: [{ ...registry, host }] });
    assert.match(authorizations.at(-1) ?? '', /^Basic /);
  } finally {
    nosy.closeAllConnections();
    nosy.close();
  }
});

/** A registry that accepts connections and says nothing. */
async function startSilentRegistry() {
  const connections = new Set<Socket>();
  const silent = createServer(() => {});
  silent.on('connection', (socket) => connections.add(socket));
  silent.listen(0, '127.0.0.1');
  await once(silent, 'listening');
  return {
    host: `127.0.0.1:${(silent.address() as AddressInfo).port}`,
    connected: () => once(silent, 'connection'),
    [Symbol.dispose]() {
      for (const socket of connections) socket.destroy();
      silent.close();
    },
  };
}

test('a pull without progress fails, and an aborted one ends', async () => {
  using silent = await startSilentRegistry();
  const options = { registry: silent.host };
  assert.match(await failure('x:1', { ...options, pullStallSeconds: 1 }), /: no progress for 1 s$/);

  const controller = new AbortController();
  const pulling = ensure('x:1', options, controller.signal);
  await silent.connected();
  const reason = new Error('enough');
  controller.abort(reason);
  await assert.rejects(pulling, (error) => error === reason);
});

test('the timeout of a pull covers all mirrors and attempts; then a present copy is used, or it is an error', async () => {
  using silent = await startSilentRegistry();
  const options = { registry: silent.host, pullAttempts: 100, pullStallSeconds: 0.4, pullTimeoutSeconds: 1.5 };
  await assert.rejects(ensure('late:1', options), (error) => {
    assert.ok(error instanceof PullError);
    assert.equal(error.reason, 'timed-out');
    const { host } = silent;
    const expected = `^cannot pull ${host}/late:1: no success within 1.5 s; the last attempt: no progress for 0.4 s$`;
    assert.match(error.message, new RegExp(expected));
    return true;
  });

  await engine.load(`${silent.host}/here:1`, image);
  const { result, notices } = await ensure('here:1', { ...options, pullStallSeconds: 60 });
  assert.equal(result, `${silent.host}/here:1`);
  assert.match(notices.at(-1) ?? '', /^cannot pull .*here:1: no success within 1.5 s; using the local copy$/);
});

/** Another address of a registry, which sends at most so many bytes a second. */
async function slowedDown({ host }: Registry, bytesPerSecond: number): Promise<AsyncDisposable & { host: string }> {
  const [address, port] = host.split(':');
  const proxy = createSocketServer((client) => {
    const upstream = connect(Number(port), address);
    const paced = async function* (chunks: AsyncIterable<Buffer>) {
      for await (const chunk of chunks) {
        await delay((1000 * chunk.length) / bytesPerSecond);
        yield chunk;
      }
    };
    pipeline(client, upstream).catch(() => client.destroy());
    pipeline(upstream, paced, client).catch(() => upstream.destroy());
  });
  proxy.listen(0, loopbackAddress());
  await once(proxy, 'listening');
  const at = proxy.address() as AddressInfo;
  return {
    host: `${at.address}:${at.port}`,
    async [Symbol.asyncDispose]() {
      proxy.close();
      await once(proxy, 'close');
    },
  };
}

async function unchanged({ host }: Registry): Promise<AsyncDisposable & { host: string }> {
  return { host, async [Symbol.asyncDispose]() {} };
}

test('the progress of a large image is reported', async () => {
  const large = await busyboxImage({}, { 'large/file': randomBytes(60_000_000) });
  await registry.push('large:1', large);
  // Podman reports once a second.
  await using slow = await (engineUnderTest() === 'podman' ? slowedDown(registry, 15_000_000) : unchanged(registry));
  const { progress } = await ensure('large:1', {
    registry: slow.host,
    credentials: [{ ...registry, host: slow.host }],
  });
  assert.equal(progress.at(-1), 1);
  assert.ok(progress.length < 60, `${progress.length} reports`);
  assert.ok(progress.every((fraction) => fraction >= 0 && fraction <= 1));
  assert.deepEqual(
    progress,
    progress.toSorted((a, b) => a - b),
  );
});

test('the engine trusts the authority in its directory of certificates', async () => {
  await using loopback = await addLoopbackAddress();
  await using own = await startRegistry({ address: loopback.address });
  await own.push('trusted:1', image);
  const options = { registry: own.host, credentials: [own] };
  const message = await failure('trusted:1', options);
  const directory = `/etc/docker/certs.d/${own.host}`;
  assert.match(message, /x509: certificate signed by unknown authority/);
  assert.ok(message.includes(`${directory}/ca.crt`), message);
  await mkdir(directory, { recursive: true });
  try {
    await writeFile(join(directory, 'ca.crt'), own.authority.certificate);
    assert.equal((await ensure('trusted:1', options)).result, `${own.host}/trusted:1`);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('mirrors are asked first, and the registry itself when they do not have the image', async () => {
  await registry.push('hub/team/mirrored:1', image);
  await registry.push('team/original:1', image);
  const { host } = registry;
  const nowhere = '127.0.0.1:1';
  const mirrors = [nowhere, `https://${host}/hub/`].map((at) => ({ of: 'other.example', at }));
  const mirrored = await ensure('other.example/team/mirrored:1', { registry: undefined, mirrors });
  assert.equal(mirrored.result, `${host}/hub/team/mirrored:1`);
  assert.match(
    mirrored.notices[1] ?? '',
    /^cannot pull 127\.0\.0\.1:1\/team\/mirrored:1: .*; asking the next registry$/,
  );
  assert.deepEqual(mirrored.notices.slice(2), [`pulling ${mirrored.result}`, `pulled ${mirrored.result}`]);

  const original = await ensure('team/original:1', { mirrors: [{ of: host, at: `${host}/hub` }] });
  assert.equal(original.result, `${host}/team/original:1`);
});

test('an image that is named by digest and came from a mirror is not pulled again', async () => {
  await registry.push('hub/kept:1', image);
  const mirrors = [{ of: '127.0.0.1:1', at: `${registry.host}/hub` }];
  const { result } = await ensure('127.0.0.1:1/kept:1', { registry: undefined, mirrors });
  const { RepoDigests } = await engine.docker.getImage(result).inspect();
  const digest = RepoDigests.find((name) => name.includes('/hub/kept@'))?.split('@')[1] ?? '';
  const pinned = await ensure(`127.0.0.1:1/kept@${digest}`, { registry: undefined, mirrors });
  assert.deepEqual([pinned.result, pinned.notices], [`${registry.host}/hub/kept@${digest}`, []]);
});

test('the action says which images the registry stands in front of, unless it is set', async () => {
  const pulled = async (name: string, rule: PrefixRule, options: Partial<ImageOptions> = {}) =>
    (await ensure(name, options, never, () => {}, rule)).result;
  assert.equal(await pulled('busybox:1', 'always'), `${registry.host}/busybox:1`);
  assert.equal(await pulled('busybox:1', 'never', { prefix: 'always' }), `${registry.host}/busybox:1`);
  assert.equal(await pulled(`${registry.host}/busybox:1`, 'never'), `${registry.host}/busybox:1`);
  const error = await pulled('127.0.0.1:1/busybox:1', 'never').catch((reason: Error) => reason);
  assert.ok(error instanceof PullError);
  assert.doesNotMatch(error.message, /registry-prefix/);

  using silent = await startSilentRegistry();
  const mirrors = [{ of: 'docker.io', at: silent.host }];
  const options = { mirrors, pullTimeoutSeconds: 0.2 };
  const unqualified = await pulled('no-such-image', 'never', options).catch((reason: Error) => reason);
  assert.ok(unqualified instanceof PullError);
  assert.equal(unqualified.reason, 'timed-out');
  assert.match(unqualified.message, /^cannot pull docker.io\/library\/no-such-image:latest: no success within 0.2 s/);
  assert.match(unqualified.message, /is not put in front of images that a current server sends: name them in full/);
});

test('the archives of a directory are loaded and deleted before an action looks for its image, and no registry is needed', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-archives-'));
  const { configuration, layers } = image;
  const { rootfs } = JSON.parse(configuration.toString());
  const archive = await writeDockerArchive([
    {
      names: ['127.0.0.1/embedded/tools:1', 'second/name:2'],
      ...{ id: image.digest, configuration },
      layers: layers.map((gzipped, index) => ({ diffId: rootfs.diff_ids[index], gzipped })),
    },
  ]);
  await writeFile(join(directory, 'broken.tar'), 'no archive');
  await writeFile(join(directory, 'tools.tar'), archive);
  const events: RuntimeEvent[] = [];
  const options = {
    ...{ host: engine.host, workDirectory: join(directory, 'worker'), imageDirectory: directory },
    registry: '127.0.0.1:1',
    ...({
      privileges: 'all-available',
      pullAttempts: 100,
      redact: (text: string) => text,
      redactParts: () => (part: string) => part,
    } as const),
    onEvent: (event: RuntimeEvent) => void events.push(event),
  };
  try {
    await using runtime = createDockerRuntime(options);
    const action = shell('echo fine', { image: '127.0.0.1/embedded/tools:1', registryPrefix: 'always' });
    const outcome = await runtime.run(action, never);
    await runtime.release(action);
    assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
    assert.deepEqual(await readdir(directory), ['broken.tar', 'worker']);
    const loaded = events.flatMap((event) => (event.kind === 'images-loaded' ? event.images : []));
    const short = loaded.map((name) => name.replace(/^docker\.io\//, ''));
    assert.deepEqual(short.sort(), ['127.0.0.1/embedded/tools:1', 'second/name:2']);
    const warnings = events.flatMap((event) => (event.kind === 'engine-warning' ? event.message : []));
    assert.equal(warnings.length, 1);
    assert.match(warnings[0] ?? '', /^cannot load the images in \S+broken\.tar: /);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('a directory for archives that is missing is as an empty one', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-archives-'));
  const [workDirectory, imageDirectory] = [directory.path, join(directory.path, 'none')];
  await using runtime = createDockerRuntime({
    ...{ host: engine.host, workDirectory, imageDirectory, registry: registry.host },
    ...({ credentials: [registry], privileges: 'all-available' } as const),
    redact: (text) => text,
    redactParts: () => (part) => part,
    onEvent: () => {},
  });
  const action = shell('true');
  assert.equal((await runtime.run(action, never)).verdict, 'SUCCESS');
  await runtime.release(action);
});
