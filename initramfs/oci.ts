import { createHash } from 'node:crypto';
import { constants, createReadStream, createWriteStream } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGzip } from 'node:zlib';
import { execa } from 'execa';
import { z } from 'zod';
import { packedLayer } from './layer-cache.ts';

/** Contents of an image. */
export interface ImageSource {
  /**
   * Directories whose contents become the layers, lowest first. All files are owned by root and
   * have the time {@link created}.
   */
  readonly layers: readonly string[];
  /** Name of the platform in Go. */
  readonly architecture: 'amd64' | 'arm64';
  /** Docker's `image:tag`, kept as an annotation of the archive's index. */
  readonly reference: string;
  /** As in the OCI image specification, `config`. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Every time in the image; the same source and time give the same bytes. */
  readonly created: Date;
}

interface Descriptor {
  readonly mediaType: string;
  readonly digest: string;
  readonly size: number;
  readonly platform?: { readonly architecture: string; readonly os: string };
  readonly annotations?: Readonly<Record<string, string>>;
}

/** What an image of several platforms is made of. */
export interface IndexSource {
  /** Archives of {@link writeOciArchive}, one for each platform. */
  readonly images: readonly { readonly path: string; readonly architecture: ImageSource['architecture'] }[];
  /** Docker's `image:tag`, kept as an annotation of the archive's index. */
  readonly reference: string;
  /** Of the index, as in the OCI image specification, "Pre-Defined Annotation Keys". */
  readonly annotations: Readonly<Record<string, string>>;
  /** Time of all files of the archive. */
  readonly created: Date;
}

const mediaTypes = {
  index: 'application/vnd.oci.image.index.v1+json',
  manifest: 'application/vnd.oci.image.manifest.v1+json',
  config: 'application/vnd.oci.image.config.v1+json',
  layer: 'application/vnd.oci.image.layer.v1.tar+gzip',
};

/**
 * Writes an image as an OCI archive: a tar of an image layout (OCI Image Format Specification 1.0,
 * "image-layout"), which skopeo, podman and containerd read. Needs no container engine.
 */
export async function writeOciArchive(source: ImageSource, path: string): Promise<void> {
  const scratch = `${path}.unfinished.d`;
  await rm(scratch, { recursive: true, force: true });
  await mkdir(join(scratch, 'blobs/sha256'), { recursive: true });
  try {
    const layers = [];
    for (const directory of source.layers) layers.push(await writeLayer(directory, scratch, source.created));
    const created = source.created.toISOString();
    const config = await writeJson(scratch, mediaTypes.config, {
      created,
      architecture: source.architecture,
      os: 'linux',
      config: source.config,
      rootfs: { type: 'layers', diff_ids: layers.map(({ diffId }) => diffId) },
      history: layers.map(() => ({ created, created_by: 'nibs' })),
    });
    const manifest = await writeJson(scratch, mediaTypes.manifest, {
      schemaVersion: 2,
      mediaType: mediaTypes.manifest,
      config,
      layers: layers.map(({ descriptor }) => descriptor),
    });
    await writeLayout(scratch, manifest, source, path);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/**
 * Writes an image of several platforms as an OCI archive: its index.json names an image index, and
 * that the images. `skopeo copy --all` pushes all of them.
 */
export async function writeOciIndex(source: IndexSource, path: string): Promise<void> {
  const scratch = `${path}.unfinished.d`;
  await rm(scratch, { recursive: true, force: true });
  await mkdir(scratch, { recursive: true });
  try {
    const manifests = [];
    for (const { path: archive, architecture } of source.images) {
      // Blobs that images share have the same name.
      await execa('tar', ['--extract', '--file', archive, '--directory', scratch]);
      const [manifest] = Layout.parse(JSON.parse(await readFile(join(scratch, 'index.json'), 'utf8'))).manifests;
      manifests.push({ ...manifest, platform: { architecture, os: 'linux' } });
    }
    const index = await writeJson(scratch, mediaTypes.index, {
      schemaVersion: 2,
      mediaType: mediaTypes.index,
      manifests,
      annotations: source.annotations,
    });
    await writeLayout(scratch, index, source, path);
  } finally {
    await rm(scratch, { recursive: true, force: true });
  }
}

/** The index.json of an archive with one image. */
const Layout = z.object({
  manifests: z.tuple([z.object({ mediaType: z.string(), digest: z.string(), size: z.int().positive() })]),
});

/** Completes the layout in `scratch`, and packs it. */
async function writeLayout(
  scratch: string,
  top: Descriptor,
  { reference, created }: Pick<ImageSource, 'reference' | 'created'>,
  path: string,
): Promise<void> {
  await writeIndex(scratch, { ...top, annotations: { 'org.opencontainers.image.ref.name': reference } });
  await pipeline(await tarOf(scratch, created), createWriteStream(`${path}.unfinished`));
  await rename(`${path}.unfinished`, path);
}

/**
 * 0.2 % larger than with level 9, in half the time. The key of a compressed layer contains the
 * level and the version of zlib, because another version may give other bytes.
 */
const compressionLevel = 6;

/**
 * Compresses a directory into a blob, or takes it from build/cache if its archive was compressed
 * before. `diffId` is the digest of the uncompressed archive, for the configuration of the image.
 */
async function writeLayer(
  directory: string,
  layout: string,
  created: Date,
): Promise<{ descriptor: Descriptor; diffId: string }> {
  const archive = join(layout, 'layer.tar');
  await pipeline(await tarOf(directory, created), createWriteStream(archive));
  const diffId = await sha256(archive);
  const key = createHash('sha256')
    .update(JSON.stringify([diffId, compressionLevel, process.versions.zlib]))
    .digest('hex');
  const packed = await packedLayer('oci', key, (path) =>
    pipeline(createReadStream(archive), createGzip({ level: compressionLevel }), createWriteStream(path)),
  );
  await rm(archive);
  const hex = await sha256(packed);
  const blob = join(layout, 'blobs/sha256', hex);
  await copyFile(packed, blob, constants.COPYFILE_FICLONE);
  const { size } = await stat(blob);
  return { descriptor: { mediaType: mediaTypes.layer, digest: `sha256:${hex}`, size }, diffId: `sha256:${diffId}` };
}

/** Checksum of a file, in hexadecimal. */
async function sha256(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

async function writeJson(layout: string, mediaType: string, value: unknown): Promise<Descriptor> {
  const bytes = Buffer.from(JSON.stringify(value));
  const hex = createHash('sha256').update(bytes).digest('hex');
  await pipeline([bytes], createWriteStream(join(layout, 'blobs/sha256', hex)));
  return { mediaType, digest: `sha256:${hex}`, size: bytes.length };
}

async function writeIndex(layout: string, top: Descriptor): Promise<void> {
  const files = {
    'index.json': { schemaVersion: 2, manifests: [top] },
    'oci-layout': { imageLayoutVersion: '1.0.0' },
  };
  for (const [name, value] of Object.entries(files)) {
    await pipeline([JSON.stringify(value)], createWriteStream(join(layout, name)));
  }
}

/**
 * A tar of the contents of a directory, the same bytes for the same content: sorted, owned by root,
 * with one time for all files. Names do not start with `./`, because CaptainOS extracts the agent
 * by its name in the layer.
 */
async function tarOf(directory: string, modifiedAt: Date): Promise<Readable> {
  const names = (await readdir(directory)).sort();
  const seconds = Math.floor(modifiedAt.getTime() / 1000);
  const reproducible = [
    '--sort=name',
    '--owner=0',
    '--group=0',
    '--numeric-owner',
    '--mode=u+rwX,go+rX,go-w', // whatever the umask
    `--mtime=@${seconds}`,
    '--format=gnu',
  ];
  return execa(
    'tar',
    ['--create', '--file=-', ...reproducible, '--directory', directory, '--files-from=/dev/null', '--', ...names],
    {
      buffer: false,
    },
  ).readable();
}
