import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { after, before, test } from 'node:test';
import { gunzipSync, gzipSync, zstdCompressSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { architectureOf } from '../../../debian/architecture.ts';
import { readImageArchive } from '../../../initramfs/additions/image-archive.ts';
import { addImages } from '../../../initramfs/additions/images.ts';
import { writeDockerArchive } from '../../../initramfs/additions/write-docker-archive.ts';
import { Tree } from '../../../initramfs/tree.ts';

type Files = Readonly<Record<string, string | Buffer>>;

const layers = [await tar({ 'bin/hello': 'hello' }), await tar({ 'etc/hello': 'world' })];
const arm64 = configurationOf('arm64');
const amd64 = configurationOf('amd64');

let directory: string;
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-images-'));
});
after(() => rm(directory, { recursive: true }));

async function tar(files: Files, links: Readonly<Record<string, string>> = {}): Promise<Buffer> {
  const archive = pack();
  const content = buffer(archive);
  for (const [name, text] of Object.entries(files)) archive.entry({ name }, text);
  for (const [name, linkname] of Object.entries(links)) archive.entry({ name, linkname, type: 'symlink' });
  archive.finalize();
  return await content;
}

function configurationOf(architecture: string, os = 'linux'): string {
  return JSON.stringify({ architecture, os, config: { Cmd: ['hello'] }, rootfs: { diff_ids: layers.map(digestOf) } });
}

function digestOf(content: Buffer | string): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

/** As `docker save` before version 25 writes it, with links in place of layers that are there. */
function dockerArchive(configuration: string, files: Files = {}, names: readonly string[] | null = ['hello:1']) {
  const manifest = [{ Config: 'c.json', RepoTags: names, Layers: ['a/layer.tar', 'b/layer.tar'] }];
  return tar(
    { 'manifest.json': JSON.stringify(manifest), 'c.json': configuration, 'x/layer.tar': layers[0] ?? '', ...files },
    { 'a/layer.tar': '../x/layer.tar' },
  );
}

/** As skopeo and `docker buildx` write it, with one manifest for each configuration. */
function ociArchive(
  configurations: readonly string[],
  annotations: object,
  compress: (layer: Buffer) => Buffer = gzipSync,
) {
  const blobs: Record<string, string | Buffer> = {};
  const add = (content: string | Buffer) => {
    blobs[`blobs/${digestOf(content).replace(':', '/')}`] = content;
    return { digest: digestOf(content) };
  };
  const packed = layers.map((layer) => add(compress(layer)));
  const manifests = configurations.map((one) => add(JSON.stringify({ config: add(one), layers: packed })));
  const index = add(JSON.stringify({ manifests }));
  return tar({
    ...blobs,
    'index.json': JSON.stringify({ manifests: [{ ...index, annotations }] }),
    'oci-layout': '{}',
  });
}

const second = { 'b/layer.tar': layers[1] ?? '' };

for (const [what, make, names] of [
  ['docker save', () => dockerArchive(amd64, second), ['hello:1']],
  ['docker save, compressed', async () => gzipSync(await dockerArchive(amd64, second)), ['hello:1']],
  ['docker save without a name', () => dockerArchive(amd64, second, null), []],
  [
    'OCI for several platforms',
    () => ociArchive([arm64, amd64], { 'io.containerd.image.name': 'docker.io/library/hello:1' }),
    ['docker.io/library/hello:1'],
  ],
  [
    'OCI with layers in zstd',
    () => ociArchive([amd64], { 'org.opencontainers.image.ref.name': 'hello:1' }, zstdCompressSync),
    ['hello:1'],
  ],
  ['OCI with a tag only', () => ociArchive([amd64], { 'org.opencontainers.image.ref.name': '1' }), []],
] as const) {
  test(`an archive is read, and written in the form that engines load: ${what}`, async () => {
    const images = await readImageArchive(await make(), 'amd64');
    deepEqual(
      images.map(({ names, id, configuration }) => [names, id, configuration.toString()]),
      [[names, digestOf(amd64), amd64]],
    );
    deepEqual(
      images[0]?.layers.map(({ gzipped }) => gunzipSync(gzipped)),
      layers,
    );
    const written = await writeDockerArchive(images);
    const inFull = (name: string) => name.replace(/^hello:/, 'docker.io/library/hello:');
    deepEqual(
      await readImageArchive(written, 'amd64'),
      images.map((one) => ({ ...one, names: one.names.map(inFull) })),
    );
    deepEqual(written, await writeDockerArchive(images));
  });
}

const selfNamed = JSON.stringify({ manifests: [{ digest: `sha256:${'a'.repeat(64)}` }] });

for (const [what, make, message] of [
  ['no archive', async () => Buffer.from('no archive at all'.repeat(100)), /^it is no tar archive/],
  ['an empty file', async () => Buffer.alloc(0), /^it is no archive of container images/],
  ['another archive', () => tar({ 'etc/passwd': 'root' }), /^it is no archive of container images: it has neither/],
  ['another architecture', () => dockerArchive(arm64, second), /^its image is for arm64, the boot image is for amd64/],
  [
    'other architectures',
    () => ociArchive([arm64, configurationOf('amd64', 'windows')], {}),
    /^its image is for arm64 and windows\/amd64, the boot image is for amd64/,
  ],
  [
    'an index that names itself',
    () => tar({ 'index.json': selfNamed, [`blobs/sha256/${'a'.repeat(64)}`]: selfNamed }),
    /^its image index is nested too deep/,
  ],
  ['a missing layer', () => dockerArchive(amd64), /^it is incomplete: b\/layer\.tar is missing/],
  ['a changed layer', () => dockerArchive(amd64, { 'b/layer.tar': 'changed' }), /^its layer 2 is damaged/],
  ['a broken manifest', () => tar({ 'manifest.json': '[{}]' }), /^manifest\.json is not as expected: 0\.Config: /],
  ['what is not JSON', () => tar({ 'manifest.json': 'x' }), /^manifest\.json is not JSON/],
] as const) {
  test(`an archive is refused: ${what}`, async () => {
    await rejects(readImageArchive(await make(), 'amd64'), { message });
  });
}

test('an archive is refused whose indexes name each other a million times', async () => {
  const name = (letter: string) => `sha256:${letter.repeat(64)}`;
  const manyOf = (letter: string) => JSON.stringify({ manifests: Array(100).fill({ digest: name(letter) }) });
  const blobs = ['a', 'b', 'c'].map((letter, index) => [
    `blobs/sha256/${letter.repeat(64)}`,
    manyOf('bcd'[index] ?? ''),
  ]);
  const last = { [`blobs/sha256/${'d'.repeat(64)}`]: JSON.stringify({ manifests: [] }) };
  const archive = await tar({ 'index.json': manyOf('a'), ...Object.fromEntries(blobs), ...last });
  await rejects(readImageArchive(archive, 'amd64'), { message: 'its image index names more than 1000 manifests' });
});

test('a layer that is small and decompresses to much more takes no memory for it', async () => {
  const [count, zeroes] = [320, Buffer.alloc(1024 * 1024)];
  const hash = createHash('sha256');
  for (let i = 0; i < count; i++) hash.update(zeroes);
  const diffIds = [`sha256:${hash.digest('hex')}`];
  const configuration = JSON.stringify({ architecture: 'amd64', os: 'linux', rootfs: { diff_ids: diffIds } });
  const manifest = [{ Config: 'c.json', RepoTags: ['a:1'], Layers: ['layer.tar'] }];
  const layer = Buffer.concat(Array<Buffer>(count).fill(gzipSync(zeroes)));
  const archive = await tar({ 'manifest.json': JSON.stringify(manifest), 'c.json': configuration, 'layer.tar': layer });
  const peakKiB = process.resourceUsage().maxRSS;
  const [image] = await readImageArchive(archive, 'amd64');
  equal(image?.layers[0]?.diffId, diffIds[0]);
  const grownMiB = (process.resourceUsage().maxRSS - peakKiB) / 1024;
  ok(grownMiB < 200, `${grownMiB} MiB`);
});

test('an image is added under its names, or under the one that is given', async () => {
  const path = join(directory, 'hello.tar');
  await writeFile(path, await dockerArchive(amd64, second, null));
  const [architecture, tree] = [architectureOf('x86_64'), new Tree()];
  const names = async (given: string) => (await addImages(new Tree(), given, architecture)).flatMap((one) => one.names);
  deepEqual(await names(`127.0.0.1/embedded/hello:1.0=${path}`), ['127.0.0.1/embedded/hello:1.0']);
  deepEqual(await names(`host:5000/hello=${path}`), ['host:5000/hello:latest']);
  await rejects(names(path), { message: /hello\.tar: it has an image without a name: give IMAGES=name:tag=file/ });
  await rejects(names(`Hello:1=${path}`), { message: /Hello:1 is not the name of an image/ });
  await rejects(names(join(directory, 'none.tar')), { message: /none\.tar: ENOENT.*\(give IMAGES=/ });
  deepEqual(await addImages(tree, `a:1=${path}`, architecture), [{ names: ['a:1'], id: digestOf(amd64) }]);
  await rejects(addImages(tree, `b:1=${path}`, architecture), { message: /another file has the same name/ });
  deepEqual(tree.files, ['site/images/hello.tar']);
  const content = new Map(tree.entries).get('site/images/hello.tar');
  equal(content?.kind, 'file');
  match(
    JSON.stringify(await readImageArchive(Buffer.from(content.content), 'amd64')),
    /"names":\["docker.io\/library\/a:1"\]/,
  );
});
