import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { basename } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { extract, type Header } from 'tar-stream';
import { OperationError } from '../../errors/operation-error.ts';
import { type ImageIndex, readImageIndex } from './image-index.ts';

/** Files of a release that the chart's web server has to serve. */
const served = /^(vmlinuz-\w+|initramfs-\w+|nibs-\w+\.iso)$/;

/**
 * Checks that an OCI archive has the form of the image that Tinkerbell's chart mounts below its web
 * server (`optional.captainos.image`, an image volume of Kubernetes): the boot images of the
 * release and nothing else, each in a layer of its own, at the root, readable for all, the same on
 * each platform.
 * @param checksums file of the release → SHA-256 in hexadecimal
 * @throws {OperationError} it has not
 */
export async function verifyBootArtifact(path: string, checksums: ReadonlyMap<string, string>): Promise<ImageIndex> {
  const refuse = (why: string) => new OperationError({ what: 'verify', target: basename(path), why });
  return await readImageIndex(path, async ([layers = [], ...others]) => {
    if (others.some((other) => other.join() !== layers.join()))
      throw refuse('its layers are not the same on each platform');
    const wanted = new Set([...checksums.keys()].filter((name) => served.test(name)));
    for (const layer of layers) {
      const [file, another] = await readLayer(layer);
      if (file === undefined || another !== undefined) throw refuse('a layer does not have one file');
      const { name, type, mode = 0 } = file.header;
      if (type !== 'file' || (mode & 0o444) !== 0o444)
        throw refuse(`it has ${name}, which is no file that all can read`);
      if (!wanted.delete(name))
        throw refuse(`it has ${name}, which is no boot image of the release, or not the only one`);
      if (checksums.get(name) !== file.sha256) throw refuse(`its ${name} is not that of the release`);
    }
    const [missing] = wanted;
    if (missing !== undefined) throw refuse(`it does not have ${missing}`);
  });
}

interface LayerFile {
  readonly header: Header;
  readonly sha256: string;
}

async function readLayer(path: string): Promise<LayerFile[]> {
  const entries = extract();
  const collect = async () => {
    const found: LayerFile[] = [];
    for await (const entry of entries) {
      const hash = createHash('sha256');
      await pipeline(entry, hash);
      found.push({ header: entry.header, sha256: hash.digest('hex') });
    }
    return found;
  };
  const [found] = await Promise.all([collect(), pipeline(createReadStream(path), createGunzip(), entries)]);
  return found;
}
