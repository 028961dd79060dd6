import { createHash } from 'node:crypto';
import { z } from 'zod';

/** No container can be made of an image on this machine. The message says why. */
export class UnusableImageError extends Error {
  override readonly name = 'UnusableImageError';
}

/** An image for other machines than this one. */
export class WrongPlatformError extends UnusableImageError {}

/** In the terms of Go, as images have it. */
export interface Platform {
  readonly os: string;
  readonly architecture: string;
  readonly variant?: string | undefined;
}

/** Of this machine. */
export function machinePlatform(): Platform {
  const architectures: Partial<Record<NodeJS.Architecture, string>> = { x64: 'amd64' };
  return { os: 'linux', architecture: architectures[process.arch] ?? process.arch };
}

const digest = z.string().regex(/^sha(?:256:[0-9a-f]{64}|384:[0-9a-f]{96}|512:[0-9a-f]{128})$/);

const platform = z.object({ os: z.string(), architecture: z.string(), variant: z.string().optional() });

const descriptor = z.object({
  mediaType: z.string().default(''),
  digest,
  size: z.int().nonnegative(),
  platform: platform.optional(),
  annotations: z.record(z.string(), z.string()).optional(),
});

export type ContentDescriptor = z.output<typeof descriptor>;

const types = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  dockerIndex: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
};

/**
 * Formats: OCI image specification 1.1, "Image Index" and "Image Manifest"; Docker's image manifest
 * version 2, schema 2.
 */
const manifestDocument = z.union([
  z
    .object({
      mediaType: z.string().optional(),
      manifests: z.array(descriptor),
      ...absent('config', 'layers', 'fsLayers'),
    })
    .transform(({ mediaType, manifests }) => ({ kind: 'index' as const, mediaType, manifests })),
  z
    .object({
      mediaType: z.string().optional(),
      config: descriptor,
      layers: z.array(descriptor).nullish(),
      ...absent('manifests', 'fsLayers'),
    })
    .transform(({ mediaType, config, layers }) => ({
      kind: 'manifest' as const,
      mediaType,
      config,
      layers: layers ?? [],
    })),
]);

export interface ImageIndex {
  readonly kind: 'index';
  readonly mediaType: string;
  readonly manifests: readonly ContentDescriptor[];
}

export interface ImageManifest {
  readonly kind: 'manifest';
  readonly mediaType: string;
  readonly config: ContentDescriptor;
  /** Lowest first. */
  readonly layers: readonly ContentDescriptor[];
}

/**
 * Programs do not agree on the meaning of a document that is two things at once (CVE-2021-41190).
 */
function absent<Key extends string>(...keys: readonly Key[]): Record<Key, z.ZodOptional<z.ZodNever>> {
  return Object.fromEntries(keys.map((key) => [key, z.never().optional()])) as Record<Key, z.ZodOptional<z.ZodNever>>;
}

/**
 * Reads what a name or a digest leads to.
 * @param stated Media type as others say it, for documents that do not say it themselves.
 * @throws {UnusableImageError}
 */
export function parseManifest(bytes: Buffer, stated: string | undefined): ImageIndex | ImageManifest {
  const json = parseJson(bytes);
  const parsed = manifestDocument.safeParse(json);
  if (!parsed.success) {
    const isOld = z.object({ schemaVersion: z.literal(1) }).safeParse(json).success;
    throw new UnusableImageError(
      isOld
        ? 'the image has a manifest of schema 1, which is not supported any more: rebuild it with Docker 1.10 or newer'
        : 'the registry has no image manifest under this name',
    );
  }
  const { kind } = parsed.data;
  const known = kind === 'index' ? [types.ociIndex, types.dockerIndex] : [types.ociManifest, types.dockerManifest];
  const mediaType = [parsed.data.mediaType, stated].find((type) => type !== undefined && known.includes(type));
  return { ...parsed.data, mediaType: mediaType ?? known[0] ?? '' };
}

/**
 * The manifest for a machine: of several the first, as containerd and Docker choose.
 * @throws {UnusableImageError} there is none
 */
export function chooseManifest({ manifests }: ImageIndex, machine: Platform): ContentDescriptor {
  const chosen =
    manifests.find(({ platform }) => platform !== undefined && matches(platform, machine)) ??
    manifests.find(({ platform }) => platform === undefined);
  if (chosen !== undefined) return chosen;
  const wanted = nameOf(machine);
  const offered = manifests.flatMap(({ platform }) => (platform ? [nameOf(platform)] : [])).join(', ');
  throw new WrongPlatformError(
    `no matching manifest for ${wanted} in the manifest list entries (${offered || 'none'})`,
  );
}

/** The variant that every machine of an architecture can run need not be named. */
const commonVariants: Readonly<Record<string, string>> = { amd64: 'v1', arm64: 'v8' };

function matches(offered: Platform, machine: Platform): boolean {
  const variantOf = ({ architecture, variant }: Platform) => variant || commonVariants[architecture];
  return (
    offered.os === machine.os &&
    offered.architecture === machine.architecture &&
    variantOf(offered) === variantOf(machine)
  );
}

function nameOf({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant ? [variant] : [])].join('/');
}

const layerTypes: ReadonlySet<string> = new Set([
  'application/vnd.oci.image.layer.v1.tar',
  'application/vnd.oci.image.layer.v1.tar+gzip',
  'application/vnd.oci.image.layer.v1.tar+zstd',
  'application/vnd.docker.image.rootfs.diff.tar',
  'application/vnd.docker.image.rootfs.diff.tar.gzip',
]);

/**
 * @throws {UnusableImageError} a layer is not to be had from the registry, or is no part of a file
 * system
 */
export function checkLayers({ layers }: ImageManifest): void {
  for (const { digest, mediaType } of layers) {
    if (/\.foreign\.|\.nondistributable\./.test(mediaType)) {
      throw new UnusableImageError(
        `layer ${digest} (${mediaType}) is not distributable: fetching it from its vendor is not supported`,
      );
    }
    if (!layerTypes.has(mediaType)) {
      throw new UnusableImageError(`layer ${digest} has the unsupported media type "${mediaType}"`);
    }
  }
}

/**
 * Labels by which containerd's garbage collector finds what an index or a manifest needs. The keys
 * are those of its own client.
 */
export function contentLabels(document: ImageIndex | ImageManifest): Record<string, string> {
  const children = document.kind === 'index' ? document.manifests : [document.config, ...document.layers];
  const counts = new Map<string, number>();
  return Object.fromEntries(
    children.map((child) => {
      const prefix = `containerd.io/gc.ref.content.${roleOf(child.mediaType)}`;
      const index = counts.get(prefix) ?? 0;
      counts.set(prefix, index + 1);
      return [index > 0 || prefix.endsWith('.') ? `${prefix}${index}` : prefix, child.digest];
    }),
  );
}

function roleOf(mediaType: string): string {
  if (mediaType === types.ociConfig || mediaType === types.dockerConfig) return 'config';
  if (mediaType === types.ociManifest || mediaType === types.dockerManifest) return 'm.';
  return layerTypes.has(mediaType) ? 'l.' : '';
}

const lines = z.array(z.string()).nullish();

/** Format: OCI image specification 1.1, "Image Configuration". */
const imageDocument = z.object({
  config: z
    .object({
      Entrypoint: lines,
      Cmd: lines,
      Env: lines,
      WorkingDir: z.string().nullish(),
      User: z.string().nullish(),
      StopSignal: z.string().nullish(),
    })
    .nullish()
    .transform((config) => ({
      Entrypoint: config?.Entrypoint ?? [],
      Cmd: config?.Cmd ?? [],
      Env: config?.Env ?? [],
      WorkingDir: config?.WorkingDir ?? '',
      User: config?.User ?? '',
      StopSignal: config?.StopSignal ?? '',
    })),
  rootfs: z.object({
    diff_ids: z
      .array(digest)
      .nullish()
      .transform((ids) => ids ?? []),
  }),
});

/**
 * How containers of an image start, where the action does not say otherwise. Empty: the image does
 * not say.
 */
export type ImageSettings = z.output<typeof imageDocument>['config'];

/**
 * @returns the settings, and the digests of the unpacked layers, lowest first
 * @throws {UnusableImageError}
 */
export function parseImageConfiguration(
  bytes: Buffer,
  { layers }: ImageManifest,
): { settings: ImageSettings; diffIds: readonly string[] } {
  const parsed = imageDocument.safeParse(parseJson(bytes));
  if (!parsed.success)
    throw new UnusableImageError('invalid image config: it does not have the format of the OCI specification');
  const { config: settings, rootfs } = parsed.data;
  if (rootfs.diff_ids.length !== layers.length) {
    throw new UnusableImageError(
      `its configuration describes ${rootfs.diff_ids.length} layers and its manifest ${layers.length}`,
    );
  }
  return { settings, diffIds: rootfs.diff_ids };
}

/**
 * Names of the snapshots that have a layer and all below it (OCI image specification 1.1, "Layer
 * ChainID").
 */
export function chainIds(diffIds: readonly string[]): string[] {
  const chain: string[] = [];
  for (const diffId of diffIds) {
    const below = chain.at(-1);
    chain.push(
      below === undefined ? diffId : `sha256:${createHash('sha256').update(`${below} ${diffId}`).digest('hex')}`,
    );
  }
  return chain;
}

function parseJson(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString('utf8'));
  } catch {
    // No schema takes it.
    return undefined;
  }
}
