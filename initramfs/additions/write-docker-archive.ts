import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import type { ArchivedImage } from './image-archive.ts';

/**
 * Images as an archive in the form that Docker and Podman load (image specification v1.2, "Combined
 * Image JSON + Filesystem Changeset Format"), with compressed layers. Same images, same bytes.
 */
export async function writeDockerArchive(images: readonly ArchivedImage[]): Promise<Buffer> {
  const files = new Map<string, Buffer>();
  const manifest = images.map(({ names, id, configuration, layers }) => {
    const Config = `${id.replace('sha256:', '')}.json`;
    files.set(Config, configuration);
    for (const { diffId, gzipped } of layers) files.set(layerName(diffId), gzipped);
    return { Config, RepoTags: names.map(inFull), Layers: layers.map(({ diffId }) => layerName(diffId)) };
  });
  const archive = pack();
  const content = buffer(archive);
  const mtime = new Date(0);
  archive.entry({ name: 'manifest.json', mtime }, JSON.stringify(manifest));
  for (const [name, bytes] of [...files].sort(([a], [b]) => (a < b ? -1 : 1))) archive.entry({ name, mtime }, bytes);
  archive.finalize();
  return await content;
}

/** Images of Docker Hub by their full name: Podman takes `name:tag` for `localhost/name:tag`. */
function inFull(name: string): string {
  const [first = '', ...rest] = name.split('/');
  if (rest.length === 0) return `docker.io/library/${name}`;
  return first === 'localhost' || /[.:]/.test(first) ? name : `docker.io/${name}`;
}

function layerName(diffId: string): string {
  return `${diffId.replace('sha256:', '')}.tar.gz`;
}
