import { createHash } from 'node:crypto';
import type { Image } from './image.ts';

function digestOf(bytes: Buffer): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

/**
 * What `oras push NAME FILE…` makes.
 * @param files a layer each; without a title it is one of a container image
 */
export function makeArtifact(files: readonly { readonly title?: string; readonly bytes: Buffer }[]): Image {
  const mediaType = 'application/vnd.oci.image.manifest.v1+json';
  const configuration = Buffer.from('{}');
  const layers = files.map(({ title, bytes }) => ({
    mediaType: 'application/vnd.oci.image.layer.v1.tar',
    digest: digestOf(bytes),
    size: bytes.length,
    ...(title !== undefined && { annotations: { 'org.opencontainers.image.title': title } }),
  }));
  const config = { mediaType: 'application/vnd.unknown.config.v1+json', digest: digestOf(configuration), size: 2 };
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, config, layers }));
  return { mediaType, manifest, configuration, layers: files.map(({ bytes }) => bytes), digest: digestOf(manifest) };
}
