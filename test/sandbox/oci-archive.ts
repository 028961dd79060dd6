import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { z } from 'zod';
import type { Image } from './image.ts';

const descriptor = z.object({ digest: z.string().regex(/^sha256:[0-9a-f]{64}$/), mediaType: z.string() });
const index = z.object({ manifests: z.tuple([descriptor]) });
const manifest = z.object({ config: descriptor, layers: z.array(descriptor) });

/**
 * Reads the one image of an OCI archive, as `skopeo copy oci-archive:…` does before it pushes it.
 */
export async function readOciArchive(path: string): Promise<Image> {
  const layout = await mkdtemp(join(tmpdir(), 'nibs-oci-'));
  try {
    await execa('tar', ['--extract', '--file', path, '--directory', layout]);
    const blob = (digest: string) => readFile(join(layout, 'blobs', digest.replace(':', '/')));
    const [top] = index.parse(JSON.parse(await readFile(join(layout, 'index.json'), 'utf8'))).manifests;
    const content = await blob(top.digest);
    const { config, layers } = manifest.parse(JSON.parse(content.toString()));
    return {
      mediaType: top.mediaType,
      digest: top.digest,
      manifest: content,
      configuration: await blob(config.digest),
      layers: await Promise.all(layers.map(({ digest }) => blob(digest))),
    };
  } finally {
    await rm(layout, { recursive: true });
  }
}
