import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';

/**
 * A container image, ready to be put into a registry or given to an engine. All bytes are exactly
 * as their digests cover them.
 */
export interface Image {
  /** Media type of {@link manifest}. */
  readonly mediaType: string;
  readonly manifest: Buffer;
  readonly configuration: Buffer;
  /** As the manifest lists them, gzip-compressed. */
  readonly layers: readonly Buffer[];
  /** `sha256:…` of the manifest: what a digest reference names. */
  readonly digest: string;
}

/**
 * What of an image's configuration a test may want to set; fields as in the OCI image
 * specification, `config`.
 */
export interface ImageConfiguration {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly StopSignal?: string;
  readonly User?: string;
}

const mediaTypes = {
  manifest: 'application/vnd.docker.distribution.manifest.v2+json',
  configuration: 'application/vnd.docker.container.image.v1+json',
  layer: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
};

/**
 * Makes an image (image manifest version 2, schema 2) of file systems given as tar archives, lowest
 * first. No engine takes part.
 */
export function makeImage(archives: readonly Buffer[], configuration: ImageConfiguration): Image {
  const layers = archives.map((archive) => gzipSync(archive, { level: 1 }));
  const configurationBytes = json({
    architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
    os: 'linux',
    config: configuration,
    rootfs: { type: 'layers', diff_ids: archives.map(digestOf) },
    history: archives.map(() => ({ created: '1970-01-01T00:00:00Z' })),
  });
  const manifest = json({
    schemaVersion: 2,
    mediaType: mediaTypes.manifest,
    config: descriptor(mediaTypes.configuration, configurationBytes),
    layers: layers.map((layer) => descriptor(mediaTypes.layer, layer)),
  });
  return {
    mediaType: mediaTypes.manifest,
    manifest,
    configuration: configurationBytes,
    layers,
    digest: digestOf(manifest),
  };
}

function descriptor(mediaType: string, content: Buffer): object {
  return { mediaType, size: content.length, digest: digestOf(content) };
}

function digestOf(content: Buffer): string {
  return `sha256:${createHash('sha256').update(content).digest('hex')}`;
}

function json(value: unknown): Buffer {
  return Buffer.from(JSON.stringify(value));
}
