import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type Docker from 'dockerode';
import { pack } from 'tar-stream';
import type { Image } from './image.ts';

/**
 * Puts an image into an engine's store without a registry, under the given reference. Format: the
 * archive that `docker save` writes (image specification v1.2, "Combined Image JSON + Filesystem
 * Changeset Format").
 */
export async function loadImage(docker: Docker, reference: string, image: Image): Promise<void> {
  const archive = pack();
  const content = buffer(archive);
  const layers = image.layers.map((_, index) => `${index}.tar.gz`);
  archive.entry(
    { name: 'manifest.json' },
    JSON.stringify([{ Config: 'c.json', RepoTags: [reference], Layers: layers }]),
  );
  archive.entry({ name: 'c.json' }, image.configuration);
  image.layers.forEach((layer, index) => void archive.entry({ name: `${index}.tar.gz` }, layer));
  archive.finalize();
  const answer = await docker.loadImage(Readable.from([await content]));
  const text = (await buffer(answer)).toString();
  if (!text.includes('Loaded image')) throw new Error(`the engine did not take the image ${reference}: ${text}`);
}
