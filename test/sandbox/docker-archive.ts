import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import type { Image } from './image.ts';

/**
 * An image as the archive that `docker save` writes (image specification v1.2, "Combined Image JSON
 * + Filesystem Changeset Format"). Its layers are compressed, which engines take too.
 */
export async function dockerArchive(reference: string, image: Image): Promise<Buffer> {
  const archive = pack();
  const content = buffer(archive);
  const layers = image.layers.map((_, index) => `${index}.tar.gz`);
  const manifest = [{ Config: 'c.json', RepoTags: [reference], Layers: layers }];
  archive.entry({ name: 'manifest.json' }, JSON.stringify(manifest));
  archive.entry({ name: 'c.json' }, image.configuration);
  image.layers.forEach((layer, index) => void archive.entry({ name: `${index}.tar.gz` }, layer));
  archive.finalize();
  return await content;
}
