import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtempDisposable, readdir, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { z } from 'zod';
import { OperationError } from '../../errors/operation-error.ts';
import { runTool } from '../../tools/run-tool.ts';

const Descriptor = z.object({
  mediaType: z.string(),
  digest: z.string().regex(/^sha256:[0-9a-f]{64}$/),
  size: z.int().positive(),
  platform: z.object({ architecture: z.string(), os: z.string() }).optional(),
});

type Descriptor = z.infer<typeof Descriptor>;

const Top = z.object({ manifests: z.tuple([Descriptor]) });
const Index = z.object({ manifests: z.array(Descriptor), annotations: z.record(z.string(), z.string()) });
const Manifest = z.object({ config: Descriptor, layers: z.array(Descriptor).nonempty() });
const Config = z.object({
  architecture: z.string(),
  os: z.string(),
  rootfs: z.object({ diff_ids: z.array(z.string()) }),
});

/** An image of several platforms in an OCI archive, all of whose digests are right. */
export interface ImageIndex {
  /** Of the index, as a registry has it. */
  readonly digest: string;
  /** As `linux/amd64`. */
  readonly platforms: readonly string[];
  /** Of its annotations. */
  readonly version: string;
}

/**
 * Reads an OCI archive with an image index, and checks the digest and size of everything in it, the
 * platform in each configuration and the digests of unpacked layers.
 * @param inspect is called with the files of the layers (tar, gzip) of each platform, lowest first,
 *   which are there until it resolves
 * @throws {OperationError} something does not fit
 */
export async function readImageIndex(
  path: string,
  inspect?: (layers: readonly (readonly string[])[]) => Promise<void>,
): Promise<ImageIndex> {
  const refuse = (why: string) => new OperationError({ what: 'verify', target: path, why });
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-image-'));
  await runTool('tar', ['--extract', '--file', path, '--directory', scratch.path], { timeoutSeconds: 600 });
  const seen = new Set<string>();
  const place = ({ digest }: Descriptor) => join(scratch.path, 'blobs', digest.replace(':', '/'));
  const check = async (one: Descriptor): Promise<void> => {
    seen.add(one.digest);
    const { digest, size } = await digestOf(place(one)).catch(() => ({ digest: 'missing', size: 0 }));
    if (digest !== one.digest || size !== one.size) throw refuse(`its blob ${one.digest} is damaged or missing`);
  };
  const read = async (one: Descriptor): Promise<unknown> => {
    await check(one);
    return JSON.parse(await readFile(place(one), 'utf8'));
  };
  const [top] = Top.parse(JSON.parse(await readFile(join(scratch.path, 'index.json'), 'utf8'))).manifests;
  const index = Index.parse(await read(top));
  const platforms = [];
  const layers: string[][] = [];
  for (const image of index.manifests) {
    const manifest = Manifest.parse(await read(image));
    const config = Config.parse(await read(manifest.config));
    for (const layer of manifest.layers) await check(layer);
    layers.push(manifest.layers.map(place));
    const unpacked = await Promise.all(manifest.layers.map(async (one) => (await digestOf(place(one), true)).digest));
    if (unpacked.join() !== config.rootfs.diff_ids.join())
      throw refuse(`the layers of ${image.digest} are not those of its configuration`);
    const platform = `${config.os}/${config.architecture}`;
    if (platform !== `${image.platform?.os}/${image.platform?.architecture}`)
      throw refuse(`the platform of ${image.digest} is ${platform}, and the index names another`);
    platforms.push(platform);
  }
  const stray = (await readdir(join(scratch.path, 'blobs/sha256'))).filter((hex) => !seen.has(`sha256:${hex}`));
  if (stray.length > 0) throw refuse(`nothing refers to its blob ${stray[0]}`);
  await inspect?.(layers);
  return {
    digest: top.digest,
    platforms,
    version: index.annotations['org.opencontainers.image.version'] ?? '',
  };
}

async function digestOf(path: string, unpacked = false): Promise<{ digest: string; size: number }> {
  const hash = createHash('sha256');
  let size = 0;
  const count = async function* (chunks: AsyncIterable<Buffer>) {
    for await (const chunk of chunks) {
      size += chunk.length;
      yield chunk;
    }
  };
  const source = createReadStream(path);
  if (unpacked) await pipeline(source, createGunzip(), count, hash);
  else await pipeline(source, count, hash);
  return { digest: `sha256:${hash.digest('hex')}`, size };
}
