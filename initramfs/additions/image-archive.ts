import { createHash, type Hash } from 'node:crypto';
import { posix } from 'node:path';
import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';
import { createGunzip, createGzip, createZstdDecompress, gunzip, zstdDecompress } from 'node:zlib';
import { extract } from 'tar-stream';
import { z } from 'zod';
import type { DebianArchitecture } from '../../debian/package.ts';

/** A container image with its layers, lowest first. */
export interface ArchivedImage {
  /** `name:tag`; empty if the archive gives none. */
  readonly names: readonly string[];
  /** `sha256:…` of the configuration. */
  readonly id: string;
  /** JSON. */
  readonly configuration: Buffer;
  readonly layers: readonly Layer[];
}

interface Layer {
  /** `sha256:…` of the tar. */
  readonly diffId: string;
  readonly gzipped: Buffer;
}

const digest = z.string().regex(/^sha256:[0-9a-f]{64}$/);
const DockerManifest = z
  .array(z.object({ Config: z.string(), RepoTags: z.array(z.string()).nullish(), Layers: z.array(z.string()) }))
  .min(1);
const Descriptor = z.object({ digest, annotations: z.record(z.string(), z.string()).optional() });
const OciIndex = z.object({ manifests: z.array(Descriptor) });
const OciManifest = z.object({ config: Descriptor, layers: z.array(Descriptor) });
const Configuration = z.object({
  architecture: z.string(),
  os: z.string(),
  rootfs: z.object({ diff_ids: z.array(digest) }),
});

/**
 * Reads the images of an archive: that of `docker save` (image specification v1.2) or an OCI
 * archive (OCI Image Format Specification 1.0, "image-layout"), also compressed. Of an image for
 * several platforms, the one for Linux on the architecture.
 * @throws {Error} it has no image, one for another architecture, or one whose parts are missing or
 *   damaged
 */
export async function readImageArchive(archive: Buffer, architecture: DebianArchitecture): Promise<ArchivedImage[]> {
  const files = await filesOf(await decompressed(archive)).catch((cause: unknown) => {
    throw new Error('it is no tar archive', { cause });
  });
  const read = async (path: string) => {
    const content = files.get(posix.normalize(path));
    if (content === undefined) throw new Error(`it is incomplete: ${path} is missing`);
    return content;
  };
  if (files.has('manifest.json')) return await readDockerArchive(read, architecture);
  if (files.has('index.json')) return await readOciArchive(read, architecture);
  throw new Error('it is no archive of container images: it has neither manifest.json nor index.json');
}

type Read = (path: string) => Promise<Buffer>;

/** As where an engine pulls. */
const maxIndexDepth = 5;
/** Indexes of a few kB that name each other many times would be read for days. */
const maxManifests = 1000;
/** A few kB can decompress to any size. No boot image can hold more, or a layer of more. */
const maxArchiveBytes = 4 * 1024 ** 3;

async function readDockerArchive(read: Read, architecture: DebianArchitecture): Promise<ArchivedImage[]> {
  const images = parse(DockerManifest, 'manifest.json', await read('manifest.json'));
  const found: ArchivedImage[] = [];
  const pack = packOnce();
  for (const { Config, RepoTags, Layers } of images) {
    const platform = await readPlatform(await read(Config));
    if (platform !== architecture) throw otherPlatform(platform, architecture);
    const layers = await Promise.all(Layers.map(read));
    found.push(await toImage(RepoTags ?? [], await read(Config), layers, pack));
  }
  return found;
}

async function readOciArchive(read: Read, architecture: DebianArchitecture): Promise<ArchivedImage[]> {
  const blob = (name: string) => read(`blobs/${name.replace(':', '/')}`);
  const found: ArchivedImage[] = [];
  const others = new Set<string>();
  const pack = packOnce();
  let manifests = 0;
  const visit = async (content: Buffer, path: string, names: readonly string[], depth = 0): Promise<void> => {
    if (++manifests > maxManifests) throw new Error(`its image index names more than ${maxManifests} manifests`);
    const value: unknown = json(path, content);
    if (OciIndex.safeParse(value).success) {
      // One that is not under its own digest may name itself.
      if (depth > maxIndexDepth) throw new Error('its image index is nested too deep');
      for (const { digest, annotations } of OciIndex.parse(value).manifests)
        await visit(await blob(digest), digest, nameIn(annotations) ?? names, depth + 1);
      return;
    }
    const manifest = parse(OciManifest, path, content);
    const configuration = await blob(manifest.config.digest);
    const platform = await readPlatform(configuration);
    if (platform !== architecture) return void others.add(platform);
    const layers = await Promise.all(manifest.layers.map((layer) => blob(layer.digest)));
    found.push(await toImage(names, configuration, layers, pack));
  };
  await visit(await read('index.json'), 'index.json', []);
  if (found.length === 0) throw otherPlatform([...others].join(' and ') || 'no platform', architecture);
  return found;
}

/** containerd writes the whole name; others write it, or only the tag, where OCI wants a name. */
function nameIn(annotations: Readonly<Record<string, string>> = {}): string[] | undefined {
  const name = annotations['io.containerd.image.name'] ?? annotations['org.opencontainers.image.ref.name'];
  return name !== undefined && /[:/]/.test(name) ? [name] : undefined;
}

/** @returns that of Linux as Debian calls it: `arm64`; of others with the system: `windows/x` */
async function readPlatform(configuration: Buffer): Promise<string> {
  const { architecture, os } = parse(Configuration, 'the configuration of the image', configuration);
  return os === 'linux' ? architecture : `${os}/${architecture}`;
}

function otherPlatform(found: string, wanted: DebianArchitecture): Error {
  return new Error(`its image is for ${found}, the boot image is for ${wanted}`);
}

type PackLayer = (layer: Buffer) => Promise<Layer>;

async function toImage(
  names: readonly string[],
  configuration: Buffer,
  layers: readonly Buffer[],
  pack: PackLayer,
): Promise<ArchivedImage> {
  const { rootfs } = parse(Configuration, 'the configuration of the image', configuration);
  if (rootfs.diff_ids.length !== layers.length)
    throw new Error(`its image has ${layers.length} layers, its configuration names ${rootfs.diff_ids.length}`);
  const packed: Layer[] = [];
  for (const [index, layer] of layers.entries()) {
    const one = await pack(layer).catch((cause: unknown) => {
      throw new Error(`its layer ${index + 1} is damaged`, { cause });
    });
    if (one.diffId !== rootfs.diff_ids[index]) throw new Error(`its layer ${index + 1} is damaged`);
    packed.push(one);
  }
  return { names, id: sha256(configuration), configuration, layers: packed };
}

/** Images can name the same layer many times. */
function packOnce(): PackLayer {
  const packed = new Map<Buffer, Promise<Layer>>();
  return (layer) => {
    const known = packed.get(layer) ?? packLayer(layer);
    packed.set(layer, known);
    return known;
  };
}

/** The tar of a layer may be large: it is never in memory as a whole. */
async function packLayer(layer: Buffer): Promise<Layer> {
  const hash = createHash('sha256');
  let sizeBytes = 0;
  const hashed = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      sizeBytes += chunk.length;
      if (sizeBytes > maxArchiveBytes) throw new Error(`it has more than ${maxArchiveBytes} bytes`);
      hash.update(chunk);
      yield chunk;
    }
  };
  const source = Readable.from([layer], { objectMode: false });
  if (isGzip(layer)) {
    await pipeline(source, createGunzip(), hashed, async (chunks) => {
      for await (const _ of chunks);
    });
    return { diffId: digestOf(hash), gzipped: layer };
  }
  const gzipped = isZstd(layer)
    ? await pipeline(source, createZstdDecompress(), hashed, createGzip(), buffer)
    : await pipeline(source, hashed, createGzip(), buffer);
  return { diffId: digestOf(hash), gzipped };
}

/** `docker save` of earlier versions has links in place of layers that are there already. */
async function filesOf(archive: Buffer): Promise<Map<string, Buffer>> {
  const files = new Map<string, Buffer>();
  const links = new Map<string, string>();
  const entries = Readable.from([archive]).pipe(extract());
  for await (const entry of entries) {
    const { name, type, linkname } = entry.header;
    const path = posix.normalize(name);
    if (type === 'symlink' && linkname) links.set(path, posix.join(posix.dirname(path), linkname));
    if (type === 'link' && linkname) links.set(path, posix.normalize(linkname));
    const content = await buffer(entry);
    if (type === 'file') files.set(path, content);
  }
  for (const [path, target] of links) {
    const content = files.get(target);
    if (content !== undefined) files.set(path, content);
  }
  return files;
}

async function decompressed(bytes: Buffer): Promise<Buffer> {
  const limits = { maxOutputLength: maxArchiveBytes };
  if (isGzip(bytes)) return await promisify(gunzip)(bytes, limits);
  return isZstd(bytes) ? await promisify(zstdDecompress)(bytes, limits) : bytes;
}

function isZstd(bytes: Buffer): boolean {
  return bytes.subarray(0, 4).toString('hex') === '28b52ffd';
}

function isGzip(bytes: Buffer): boolean {
  return bytes[0] === 0x1f && bytes[1] === 0x8b;
}

function parse<Schema extends z.ZodType>(schema: Schema, what: string, content: Buffer): z.output<Schema> {
  const { data, error } = schema.safeParse(json(what, content));
  if (error === undefined) return data;
  const [issue] = error.issues;
  throw new Error(`${what} is not as expected: ${issue?.path.join('.')}: ${issue?.message}`, { cause: error });
}

function json(what: string, content: Buffer): unknown {
  try {
    return JSON.parse(content.toString());
  } catch (cause) {
    throw new Error(`${what} is not JSON`, { cause });
  }
}

function sha256(content: Buffer): string {
  return digestOf(createHash('sha256').update(content));
}

function digestOf(hash: Hash): string {
  return `sha256:${hash.digest('hex')}`;
}
