import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type Docker from 'dockerode';
import { dockerArchive } from './docker-archive.ts';
import type { Image } from './image.ts';

/** Puts an image into an engine's store without a registry, under the given reference. */
export async function loadImage(docker: Docker, reference: string, image: Image): Promise<void> {
  const answer = await docker.loadImage(Readable.from([await dockerArchive(reference, image)]));
  const text = (await buffer(answer)).toString();
  if (!text.includes('Loaded image')) throw new Error(`the engine did not take the image ${reference}: ${text}`);
}
