import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, before, type TestContext, test } from 'node:test';
import { zstdCompressSync } from 'node:zlib';
import { execa } from 'execa';
import { pack } from 'tar-stream';
import { ContainerdClient } from '../../../../../agent/runtime/containerd/client.ts';
import { type ImageStore, imageConfiguration, pullImage } from '../../../../../agent/runtime/containerd/image/pull.ts';
import type { PullProgress } from '../../../../../agent/runtime/engine.ts';
import { SnapshotsDefinition } from '../../../../../proto/containerd.pb.ts';
import { RegistryError } from '../../../../../registry/connection.ts';
import { UnusableImageError } from '../../../../../registry/manifest.ts';
import { addLoopbackAddress, type LoopbackAddress } from '../../../../sandbox/added-address.ts';
import { busyboxImage } from '../../../../sandbox/busybox-image.ts';
import { type CertificateAuthority, createCertificateAuthority } from '../../../../sandbox/certificates.ts';
import { type Containerd, startContainerd } from '../../../../sandbox/containerd.ts';
import {
  digestOf,
  type FakeRegistry,
  type FakeRegistryOptions,
  startFakeRegistry,
} from '../../../../sandbox/fake-registry.ts';
import { type Image, type ImageConfiguration, makeImage } from '../../../../sandbox/image.ts';
import { type Registry, startRegistry } from '../../../../sandbox/registry.ts';

const never = new AbortController().signal;
const machine = process.arch === 'arm64' ? 'arm64' : 'amd64';
let containerd: Containerd;
let authority: CertificateAuthority;
/** Not an address of loopback for registry clients: certificates are verified. */
let remote: LoopbackAddress;
let registry: Registry;
let certificates: string;
before(async () => {
  [containerd, authority, remote] = await Promise.all([
    startContainerd(),
    createCertificateAuthority(),
    addLoopbackAddress(),
  ]);
  registry = await startRegistry({ address: remote.address, authority });
  certificates = join(containerd.directory, 'certs.d');
  await mkdir(join(certificates, registry.host), { recursive: true });
  await writeFile(join(certificates, registry.host, 'hosts.toml'), 'ca = "authority.pem"\n');
  await writeFile(join(certificates, registry.host, 'authority.pem'), authority.certificate);
});
after(async () => {
  await registry[Symbol.asyncDispose]();
  await remote[Symbol.asyncDispose]();
  await containerd[Symbol.asyncDispose]();
});

let namespaces = 0;

/** A namespace of its own for a test: empty in the beginning. `ctr` is in it. */
function storeFor(test: TestContext, more: Partial<ImageStore> = {}) {
  const namespace = `test-${++namespaces}`;
  const client = new ContainerdClient(containerd.socketPath, namespace);
  test.after(() => client.close());
  const store: ImageStore = { client, snapshotter: 'overlayfs', registryConfigPath: certificates, ...more };
  const ctr = (...parameters: readonly string[]) => containerd.ctr('--namespace', namespace, ...parameters);
  return { store, ctr };
}

async function pull(store: ImageStore, name: string, signal = never): Promise<PullProgress[]> {
  const lines: PullProgress[] = [];
  const { username, password } = registry;
  await pullImage(store, name, { username, password }, (line) => void lines.push(line), signal);
  return lines;
}

async function fake(test: TestContext, options: FakeRegistryOptions = {}): Promise<FakeRegistry> {
  const server = await startFakeRegistry(options);
  test.after(() => server[Symbol.asyncDispose]());
  return server;
}

/** Other bytes each time: no other namespace has it. */
async function archive(sizeBytes = 1024): Promise<Buffer> {
  const packed = pack();
  const content = buffer(packed);
  packed.entry({ name: 'random' }, randomBytes(sizeBytes));
  packed.finalize();
  return await content;
}

async function newImage(layers = 1, configuration: ImageConfiguration = {}, sizeBytes = 1024): Promise<Image> {
  return makeImage(await Promise.all(Array.from({ length: layers }, () => archive(sizeBytes))), configuration);
}

/** Reads a file out of an unpacked image, through the mounts that containerd gives for it. */
async function readFromImage(
  { client, snapshotter }: ImageStore,
  ctr: (...parameters: string[]) => Promise<string>,
  parent: string,
  file: string,
): Promise<Buffer> {
  const target = await mkdtemp(join(containerd.directory, 'view-'));
  // Without the label the collector may take it at once.
  const view = { snapshotter, key: target, parent, labels: { 'containerd.io/gc.root': new Date().toISOString() } };
  await client.call(SnapshotsDefinition, 'view', view, { signal: never });
  const [program = '', ...parameters] = (await ctr('snapshots', 'mounts', target, target)).trim().split(/\s+/);
  await execa(program, parameters);
  try {
    return await readFile(join(target, file));
  } finally {
    await execa('umount', [target]);
    await ctr('snapshots', 'rm', target);
    await rm(target, { recursive: true });
  }
}

/**
 * Whatever an unsuccessful pull leaves behind when the garbage collector, which does not run at
 * once, has been there.
 */
async function leftovers(ctr: (...parameters: string[]) => Promise<string>): Promise<string> {
  const rows = (table: string) => table.trim().split('\n').slice(1);
  const deadline = performance.now() + 10_000;
  for (;;) {
    const images = await ctr('images', 'ls', '-q');
    const active = rows(await ctr('content', 'active'));
    const leases = await ctr('leases', 'ls', '-q');
    const snapshots = rows(await ctr('snapshots', 'ls'));
    const content = await ctr('content', 'ls', '-q');
    const left = [images, ...active, leases, ...snapshots, content].filter((line) => line.trim() !== '').join('\n');
    if (left === '' || performance.now() > deadline) return left;
  }
}

test('pullImage() pulls an image that containerd runs, with a password, over TLS with a private authority', async (test) => {
  const { store, ctr } = storeFor(test);
  const image = await busyboxImage({ Entrypoint: ['/bin/cat'], StopSignal: 'SIGINT' }, { greeting: 'hello\n' });
  const name = await registry.push('tools/busybox:1', image);
  const lines = await pull(store, name);

  assert.match(await ctr('images', 'check', `name==${name}`), /complete \(2\/2\).*true/);
  const run = await ctr('run', '--rm', '--net-host', name, 'once', '/bin/cat', '/greeting');
  assert.equal(run, 'hello');
  const found = await imageConfiguration(store, name, never);
  assert.equal(found?.digest, digestOf(image.configuration));
  assert.deepEqual(found?.config, {
    ...{ Entrypoint: ['/bin/cat'], Cmd: ['/bin/sh'], Env: ['PATH=/bin'] },
    ...{ WorkingDir: '', User: '', StopSignal: 'SIGINT' },
  });
  assert.equal((await readFromImage(store, ctr, found?.chainId ?? '', 'greeting')).toString(), 'hello\n');
  const id = digestOf(image.layers[0] as Buffer).slice(7, 19);
  const [begun, ...ofLayer] = lines;
  assert.deepEqual(begun, { phase: 'other' });
  assert.deepEqual(new Set(ofLayer.map((line) => 'layer' in line && line.layer)), new Set([id]));
  const phases = ['downloading', 'downloaded', 'unpacking', 'unpacked'];
  assert.deepEqual([...new Set(ofLayer.map(({ phase }) => phase))], phases);
  const [first] = ofLayer;
  assert.equal(first?.phase === 'downloading' && first.totalBytes, image.layers[0]?.length);
});

test('pullImage() reuses content, downloads no blob twice, and resolves a tag each time', async (test) => {
  const { store, ctr } = storeFor(test);
  const server = await fake(test);
  const [first, second] = [await newImage(3), await newImage(2)];
  const name = server.put('tools/thing:1', first);
  await pull(store, name);
  const downloads = () => server.requests.filter(({ method }) => method === 'GET').length;
  assert.equal(downloads(), 5);
  const lines = await pull(store, name);
  assert.equal(downloads(), 5);
  assert.equal(server.requests.length, 7);
  assert.ok(lines.some(({ phase }) => phase === 'present'));

  server.put('tools/thing:1', second);
  await pull(store, name);
  assert.match(await ctr('images', 'ls', `name==${name}`), new RegExp(second.digest));
  assert.equal(downloads(), 9);
});

test('pullImage() reuses blobs of another namespace of containerd', async (test) => {
  const server = await fake(test);
  const name = server.put('tools/thing:1', await newImage());
  await pull(storeFor(test).store, name);
  const before = server.requests.length;
  const paths = () => server.requests.slice(before).map(({ path }) => path);
  const { store, ctr } = storeFor(test);
  await pull(store, name);
  assert.deepEqual(new Set(paths()), new Set(['/v2/tools/thing/manifests/1']));
  assert.match(await ctr('images', 'check', `name==${name}`), /complete \(2\/2\).*true/);
});

test('pullImage() labels content as containerd does, so that its garbage collector keeps the image, and nothing else', async (test) => {
  const ours = storeFor(test);
  const theirs = storeFor(test);
  const server = await fake(test);
  const image = await newImage(2);
  // The same layer twice is a layer of its own each time.
  const manifest = JSON.parse(image.manifest.toString());
  server.put('tools/thing:1', image);
  const index = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.index.v1+json',
      manifests: [
        { ...entry('other', randomBytes(100)), mediaType: image.mediaType },
        { ...entry(machine, image.manifest), mediaType: image.mediaType },
      ],
    }),
  );
  const name = server.putManifest('tools/thing:all', 'application/vnd.oci.image.index.v1+json', index);
  await pull(ours.store, name);
  await theirs.ctr('images', 'pull', '--plain-http', '--snapshotter', 'overlayfs', name);
  const blobs = [index, image.manifest, image.configuration, ...image.layers].map(digestOf);
  assert.equal(manifest.layers.length, 2);
  const labels = async (ctr: (...parameters: string[]) => Promise<string>) => {
    const rows = (await ctr('content', 'ls')).split('\n').slice(1);
    return (
      rows
        .map((row) => row.split(/\t+/).map((field) => field.trim()))
        .filter(([digest = '']) => blobs.includes(digest))
        // Its age before that has a number of words of its own: 'Less than a second', '1 second'.
        .map(([digest, , , list = '']) => [digest, list.split(',').sort()])
        .sort()
    );
  };
  const labelled = await labels(ours.ctr);
  assert.equal(labelled.length, 5);
  assert.match(labelled.flat(2).join(' '), /gc\.ref\.content\.config=/);
  assert.deepEqual(labelled, await labels(theirs.ctr));

  assert.equal(await ours.ctr('leases', 'ls', '-q'), '');
  const { chainId = '' } = (await imageConfiguration(ours.store, name, never)) ?? {};
  // Deleting an image synchronously runs the collector.
  await pull(ours.store, server.put('tools/other:1', await newImage()));
  await ours.ctr('images', 'rm', '--sync', `${server.host}/tools/other:1`);
  assert.match(await ours.ctr('images', 'check', `name==${name}`), /complete \(3\/3\).*true/);
  assert.equal((await readFromImage(ours.store, ours.ctr, chainId, 'random')).length, 1024);
  await ours.ctr('images', 'rm', '--sync', name);
  assert.equal(await leftovers(ours.ctr), '');
});

test('pullImage() protects new and reused content from the garbage collector', async (test) => {
  const { store, ctr } = storeFor(test);
  const [lower, upper] = [await archive(), await archive()];
  const image = makeImage([lower, upper], {});
  const lowerIsDone = Promise.withResolvers<void>();
  const collect = async (response: ServerResponse) => {
    await lowerIsDone.promise;
    // Deleting an image synchronously runs the collector.
    await ctr('images', 'rm', '--sync', `${server.host}/tools/older:1`);
    response.end(image.layers[1]);
  };
  const server = await fake(test, {
    instead: ({ path }, response) => {
      const isUpper = path.endsWith(digestOf(image.layers[1] as Buffer));
      if (isUpper) collect(response).catch((error) => response.destroy(error));
      return isUpper;
    },
  });
  await pull(store, server.put('tools/older:1', makeImage([lower], { Cmd: ['older'] })));
  const name = server.put('tools/newer:1', image);
  const phases: string[] = [];
  const onProgress = ({ phase }: PullProgress) => {
    phases.push(phase);
    if (phase === 'unpacked') lowerIsDone.resolve();
  };
  await pullImage(store, name, undefined, onProgress, never);
  assert.ok(phases.includes('present'));
  assert.equal((await ctr('images', 'ls', '-q')).trim(), name);
  assert.match(await ctr('images', 'check', `name==${name}`), /complete \(3\/3\).*true/);
});

test('pullImage() reports a wrong password and an unknown tag, and leaves nothing', async (test) => {
  const { store, ctr } = storeFor(test);
  const name = await registry.push('tools/thing:1', await newImage());
  const wrong = { username: registry.username, password: 'canary' };
  await assert.rejects(
    pullImage(store, name, wrong, () => {}, never),
    /^RegistryError: unauthorized: /,
  );
  await assert.rejects(pull(store, `${name}x`), /^RegistryError: manifest unknown: .*\/manifests\/1x answered 404/);
  assert.equal(await leftovers(ctr), '');
});

test('pullImage() by digest accepts only content with that digest', async (test) => {
  const { store, ctr } = storeFor(test);
  const [image, other] = [await newImage(), await newImage()];
  const server = await fake(test);
  server.put('tools/thing:1', image);
  const name = `${server.host}/tools/thing@${image.digest}`;
  await pull(store, name);
  assert.match(await ctr('images', 'ls', `name==${name}`), new RegExp(image.digest));

  const liar = await fake(test, {
    instead: ({ path }, response) => path.includes('/manifests/') && !!response.end(other.manifest),
  });
  liar.put('tools/thing:1', other);
  await assert.rejects(pull(storeFor(test).store, `${liar.host}/tools/thing@${image.digest}`), /has the wrong content/);
});

test('pullImage() refuses a layer whose digest differs, compressed or decompressed', async (test) => {
  const image = await newImage();
  const layer = image.layers[0] as Buffer;
  const forged = await fake(test, {
    instead: ({ path }, response) => path.endsWith(digestOf(layer)) && !!response.end(randomBytes(layer.length)),
  });
  const packed = storeFor(test);
  await assert.rejects(pull(packed.store, forged.put('tools/thing:1', image)), (error: Error) => {
    assert.ok(error instanceof RegistryError);
    assert.match(error.message, new RegExp(`${digestOf(layer)} has the wrong content`));
    return true;
  });
  assert.equal(await leftovers(packed.ctr), '');

  const server = await fake(test);
  const other = await newImage();
  const configuration = other.configuration;
  const manifest = json({
    schemaVersion: 2,
    config: { mediaType: 'application/vnd.docker.container.image.v1+json', ...describe(configuration) },
    layers: [{ mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip', ...describe(layer) }],
  });
  for (const blob of [configuration, layer]) server.putBlob('tools/thing', blob);
  const unpacked = storeFor(test);
  const name = server.putManifest('tools/thing:1', image.mediaType, manifest);
  await assert.rejects(pull(unpacked.store, name), /unpacks to sha256:.*not to sha256:.* as the image says/);
  assert.equal(await leftovers(unpacked.ctr), '');
});

test('pullImage() leaves nothing after a broken connection, and succeeds the next time', async (test) => {
  const { store, ctr } = storeFor(test);
  const image = await newImage(5, {}, 4 * 1024 * 1024);
  const middle = digestOf(image.layers[2] as Buffer);
  let isBroken = true;
  const server = await fake(test, {
    instead: ({ path }, response) => {
      if (!path.endsWith(middle) || !isBroken) return false;
      response.writeHead(200, { 'content-length': image.layers[2]?.length });
      response.write(image.layers[2]?.subarray(0, 3 * 1024 * 1024), () => response.socket?.destroy());
      return true;
    },
  });
  const name = server.put('tools/thing:1', image);
  await assert.rejects(pull(store, name), /^RegistryError: the connection to .* broke: aborted$/);
  assert.equal(await imageConfiguration(store, name, never), undefined);
  assert.equal(await leftovers(ctr), '');
  isBroken = false;
  await pull(store, name);
  assert.match(await ctr('images', 'check', `name==${name}`), /complete \(6\/6\).*true/);
});

test('pullImage() stops at once when the signal is aborted amid a blob', async (test) => {
  const { store, ctr } = storeFor(test);
  const image = await newImage(1, {}, 4 * 1024 * 1024);
  const stop = new AbortController();
  const server = await fake(test, {
    instead: ({ path }, response) => {
      if (!path.endsWith(digestOf(image.layers[0] as Buffer))) return false;
      response.write(image.layers[0]?.subarray(0, 3 * 1024 * 1024), () => stop.abort(new Error('enough')));
      return true;
    },
  });
  const startedAt = performance.now();
  await assert.rejects(pull(store, server.put('tools/thing:1', image), stop.signal), /^Error: enough$/);
  assert.ok(performance.now() - startedAt < 5000);
  assert.equal(await leftovers(ctr), '');
});

test('pullImage() prefers the mirror of hosts.toml, without credentials, and works without it', async (test) => {
  const mirror = await fake(test);
  const image = await newImage();
  const reference = await registry.push('tools/mirrored:1', image);
  const only = await newImage();
  mirror.put('tools/mirrored:1', only);
  const directory = await mkdtemp(join(containerd.directory, 'certs-'));
  await mkdir(join(directory, registry.host));
  const toml = `ca = "${certificates}/${registry.host}/authority.pem"\n[host."${mirror.url}"]\n`;
  await writeFile(join(directory, registry.host, 'hosts.toml'), toml);
  const { store, ctr } = storeFor(test, { registryConfigPath: directory });
  await pull(store, reference);
  assert.match(await ctr('images', 'ls', `name==${reference}`), new RegExp(only.digest));
  assert.ok(mirror.requests.every(({ headers }) => headers.authorization === undefined));

  const rest = await registry.push('tools/elsewhere:1', image);
  await pull(store, rest);
  assert.ok(mirror.requests.some(({ path }) => path.includes('elsewhere')));
  assert.match(await ctr('images', 'ls', `name==${rest}`), new RegExp(image.digest));
});

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}

function describe(bytes: Buffer): { digest: string; size: number } {
  return { digest: digestOf(bytes), size: bytes.length };
}

function entry(architecture: string, manifest: Buffer, variant?: string, os = 'linux') {
  const mediaType = 'application/vnd.docker.distribution.manifest.v2+json';
  return { mediaType, ...describe(manifest), platform: { os, architecture, ...(variant && { variant }) } };
}

test('pullImage() selects the image for this platform from an index', async (test) => {
  const server = await fake(test);
  const images = await Promise.all(Array.from({ length: 4 }, () => newImage()));
  const [windows, variant, arm, right] = images as [Image, Image, Image, Image];
  for (const image of images) server.put('tools/thing:x', image);
  const list = 'application/vnd.docker.distribution.manifest.list.v2+json';
  const index = (...manifests: unknown[]) => json({ schemaVersion: 2, mediaType: list, manifests });
  const both = index(
    entry('amd64', windows.manifest, undefined, 'windows'),
    entry('amd64', variant.manifest, 'v3'),
    entry('unknown', windows.manifest, undefined, 'unknown'),
    entry('arm64', arm.manifest, 'v8'),
    entry('amd64', right.manifest),
  );
  const name = server.putManifest('tools/thing:1', list, both);
  for (const [architecture, image] of [
    ['amd64', right],
    ['arm64', arm],
  ] as const) {
    const { store } = storeFor(test, { platform: { os: 'linux', architecture } });
    await pull(store, name);
    const found = await imageConfiguration(store, name, never);
    assert.equal(found?.digest, digestOf(image.configuration));
    const other = { ...store, platform: { os: 'linux', architecture: architecture === 'arm64' ? 'amd64' : 'arm64' } };
    assert.equal(await imageConfiguration(other, name, never), undefined);
  }

  const without = server.putManifest(
    'tools/thing:2',
    list,
    index(entry('amd64', windows.manifest, undefined, 'windows')),
  );
  const { store, ctr } = storeFor(test, { platform: { os: 'linux', architecture: 'amd64' } });
  await assert.rejects(pull(store, without), (error: Error) => {
    assert.ok(error instanceof UnusableImageError);
    assert.match(
      error.message,
      /^no matching manifest for linux\/amd64 in the manifest list entries \(windows\/amd64\)$/,
    );
    return true;
  });
  assert.equal(await leftovers(ctr), '');
});

test('pullImage() takes OCI images with layers of every compression', async (test) => {
  const server = await fake(test);
  const archives = await Promise.all(Array.from({ length: 2 }, () => archive()));
  const [plain, compressed] = archives as [Buffer, Buffer];
  const layers = [plain, zstdCompressSync(compressed)];
  const configuration = json({
    ...{ os: 'linux', architecture: machine, config: null },
    rootfs: { type: 'layers', diff_ids: archives.map(digestOf) },
  });
  const manifest = json({
    schemaVersion: 2,
    config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...describe(configuration) },
    layers: layers.map((layer, index) => ({
      mediaType: `application/vnd.oci.image.layer.v1.tar${index === 1 ? '+zstd' : ''}`,
      ...describe(layer),
    })),
  });
  for (const blob of [configuration, ...layers]) server.putBlob('tools/thing', blob);
  const { store, ctr } = storeFor(test);
  const name = server.putManifest('tools/thing:1', 'application/vnd.oci.image.manifest.v1+json', manifest);
  await pull(store, name);
  const { chainId = '', config } = (await imageConfiguration(store, name, never)) ?? {};
  assert.deepEqual(config?.Env, []);
  assert.ok(compressed.includes(await readFromImage(store, ctr, chainId, 'random')));
});

test('pullImage() refuses other formats, with the reason', async (test) => {
  const server = await fake(test);
  const image = await newImage();
  const config = { mediaType: 'application/vnd.docker.container.image.v1+json', ...describe(image.configuration) };
  const foreign = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
  server.put('tools/thing:x', image);
  const cases: readonly (readonly [unknown, RegExp])[] = [
    [{ schemaVersion: 1, fsLayers: [], history: [] }, /manifest of schema 1/],
    [
      { schemaVersion: 2, config, layers: [{ mediaType: foreign, ...describe(image.manifest), urls: ['https://x'] }] },
      /is not distributable/,
    ],
    [
      { schemaVersion: 2, config, layers: [{ mediaType: 'text/plain', ...describe(image.manifest) }] },
      /unsupported media type/,
    ],
    [{ schemaVersion: 2, config, layers: [] }, /describes 1 layers and its manifest 0/],
    [{ schemaVersion: 2, config, layers: [], manifests: [] }, /has no image manifest/],
    ['what?', /has no image manifest/],
  ];
  for (const [document, message] of cases) {
    const { store, ctr } = storeFor(test);
    const name = server.putManifest('tools/thing:1', image.mediaType, json(document));
    await assert.rejects(pull(store, name), message);
    assert.equal(await leftovers(ctr), '');
  }
});

test('pullImage() can run several times at once', async (test) => {
  const { store, ctr } = storeFor(test);
  const server = await fake(test);
  const name = server.put('tools/thing:1', await newImage(4, {}, 2 * 1024 * 1024));
  await Promise.all([1, 2, 3].map(() => pull(store, name)));
  assert.match(await ctr('images', 'check', `name==${name}`), /complete \(5\/5\).*true/);
  assert.doesNotMatch(await ctr('snapshots', 'ls'), /extract/);
});

test('pullImage() takes an image without layers', async (test) => {
  const { store } = storeFor(test);
  const server = await fake(test);
  const name = server.put('tools/empty:1', makeImage([], { Cmd: ['/nothing'] }));
  await pull(store, name);
  const found = await imageConfiguration(store, name, never);
  assert.equal(found?.chainId, '');
  assert.deepEqual(found?.config.Cmd, ['/nothing']);
});

test('imageConfiguration() does not find an image that is missing, or whose snapshot is', async (test) => {
  const { store, ctr } = storeFor(test);
  const server = await fake(test);
  const name = server.put('tools/thing:1', await newImage());
  assert.equal(await imageConfiguration(store, name, never), undefined);
  await ctr('images', 'pull', '--plain-http', '--snapshotter', 'native', name);
  assert.equal(await imageConfiguration(store, name, never), undefined);
  await pull(store, name);
  const { chainId = '' } = (await imageConfiguration(store, name, never)) ?? {};
  await ctr('snapshots', 'rm', chainId);
  assert.equal(await imageConfiguration(store, name, never), undefined);
  await pull(store, name);
  assert.ok(await imageConfiguration(store, name, never));
});
