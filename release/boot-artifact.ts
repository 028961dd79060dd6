import { link, mkdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { architectures } from '../debian/architecture.ts';
import { type ImageSource, writeOciArchive, writeOciIndex } from '../initramfs/oci.ts';

export interface BootArtifact {
  /** Of `image:tag`. */
  readonly reference: string;
  /** Paths of the files, which stand at its root. */
  readonly files: readonly string[];
  readonly annotations: Readonly<Record<string, string>>;
  /** Its time, and that of its files. */
  readonly created: Date;
}

/**
 * Writes boot images as an OCI image in the form of CaptainOS' artifacts, which Tinkerbell's chart
 * mounts as an image volume below its web server (`optional.captainos.image`): an index whose
 * platforms have the same layers, one for each file, because the node that serves the files need
 * not have the architecture of the machines.
 * @param scratch a directory on the file system of the files
 */
export async function writeBootArtifact(artifact: BootArtifact, path: string, scratch: string): Promise<void> {
  const { reference, created, annotations } = artifact;
  const layers = await layOut(artifact.files, join(scratch, 'layers'));
  const images = [];
  for (const { debian: architecture } of architectures) {
    const image: ImageSource = { layers, architecture, reference, config: { Labels: annotations }, created };
    const archive = join(scratch, `boot-image-${architecture}.oci.tar`);
    await writeOciArchive(image, archive);
    images.push({ path: archive, architecture });
  }
  await writeOciIndex({ images, reference, annotations, created }, path);
  for (const image of images) await rm(image.path);
  await rm(join(scratch, 'layers'), { recursive: true });
}

/** @returns a directory for each file, with a link to it */
async function layOut(files: readonly string[], directory: string): Promise<string[]> {
  return await Promise.all(
    files.map(async (file, index) => {
      const layer = join(directory, String(index));
      await mkdir(layer, { recursive: true });
      await link(file, join(layer, file.slice(file.lastIndexOf('/') + 1)));
      return layer;
    }),
  );
}
