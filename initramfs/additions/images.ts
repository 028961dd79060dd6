import { readFile } from 'node:fs/promises';
import { basename } from 'node:path';
import type { Architecture } from '../../debian/architecture.ts';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { Tree } from '../tree.ts';
import { readImageArchive } from './image-archive.ts';
import { writeDockerArchive } from './write-docker-archive.ts';

/** A container image that is added. */
export interface AddedImage {
  /** `name:tag`, at least one. */
  readonly names: readonly string[];
  /** `sha256:…` of its configuration, which engines call its ID. */
  readonly id: string;
}

/** `127.0.0.1/embedded/hello:1.0`, with or without registry and tag. */
const namePattern = /^(?:[\w.-]+(?::\d+)?\/)?[a-z0-9._-]+(?:\/[a-z0-9._-]+)*(?::[\w.-]{1,128})?$/;

/**
 * Adds the images of an archive, which the agent loads into the container engine.
 * @param given `file`, or `name:tag=file` to give its image another name
 * @throws {OperationError} it is no archive of images for the architecture
 */
export async function addImages(tree: Tree, given: string, architecture: Architecture): Promise<AddedImage[]> {
  const [, ownName, path = ''] = /^(?:([^=]*)=)?(.*)$/s.exec(given) ?? [];
  const target = `site/images/${basename(path)}`;
  try {
    if (ownName !== undefined && !namePattern.test(ownName)) throw new Error(`${ownName} is not the name of an image`);
    if (tree.has(target)) throw new Error('another file has the same name');
    const found = await readImageArchive(await readFile(path), architecture.debian);
    if (ownName !== undefined && found.length > 1) throw new Error(`it has ${found.length} images for one name`);
    const images = found.map((image) => ({ ...image, names: ownName === undefined ? image.names : [tagged(ownName)] }));
    if (images.some(({ names }) => names.length === 0))
      throw new Error('it has an image without a name: give IMAGES=name:tag=file');
    tree.file(target, await writeDockerArchive(images));
    return images.map(({ names, id }) => ({ names, id }));
  } catch (cause) {
    const hint = 'give IMAGES= archives of images, as docker save and skopeo write them';
    throw new OperationError({ what: 'use', target: path, why: reasonOf(cause), hint, cause });
  }
}

function tagged(name: string): string {
  return /:[^/]*$/.test(name) ? name : `${name}:latest`;
}
