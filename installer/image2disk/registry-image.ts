import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import { RegistryError } from '../../registry/connection.ts';
import { registryHosts } from '../../registry/hosts.ts';
import type { ImageReference } from '../../registry/image-reference.ts';
import type { RegistryLogin } from '../../registry/login.ts';
import {
  type ContentDescriptor,
  chooseManifest,
  type ImageManifest,
  machinePlatform,
  parseManifest,
  UnusableImageError,
} from '../../registry/manifest.ts';
import { Repository } from '../../registry/repository.ts';
import { InstallError } from '../errors.ts';
import type { Image } from '../fetch/fetch.ts';

/** A disk image in a registry, and how to get it. */
export interface RegistryOrigin {
  readonly kind: 'registry';
  readonly reference: ImageReference;
  readonly login: RegistryLogin | undefined;
  /** False: any certificate of the registry is accepted. */
  readonly verify: boolean;
}

export interface RegistryContext {
  readonly clock: Clock;
  /** Certificate authorities (PEM) to trust besides the usual ones. */
  readonly authorities: readonly string[];
  readonly onRetry: (notice: string) => void;
}

/** As of flatcar-install's downloads. */
const tries = 10;
const pauseSeconds = (failures: number) => Math.min(failures, 10);

/** Files of containerd and Docker about registries, if the action has them mounted. */
const directories = { registryConfigPath: '/etc/containerd/certs.d', dockerCertsPath: '/etc/docker/certs.d' };

/** Opens a repository; it is to be disposed of. */
export async function openRepository(
  { reference, login, verify }: RegistryOrigin,
  { clock, authorities }: RegistryContext,
): Promise<Repository> {
  const hosts = await registryHosts(reference.host, directories);
  const trusted = hosts.map((host) => ({
    ...host,
    tls: {
      ...host.tls,
      authorities: [...host.tls.authorities, ...authorities],
      verify: host.tls.verify && verify,
    },
  }));
  return new Repository(reference.repository, reference.host, trusted, login, clock);
}

/**
 * Opens the disk image, as `oras push` puts it there: the only layer of a manifest, or the only one
 * with a file name.
 * @throws {InstallError} the registry does not have it, or it is no disk image
 */
export async function openRegistryImage(
  repository: Repository,
  { reference }: RegistryOrigin,
  { onRetry }: RegistryContext,
  signal: AbortSignal,
): Promise<Image> {
  const { canonical } = reference;
  const layer = await explained(canonical, signal, async () =>
    findLayer(await fetchManifest(repository, reference, signal)),
  );
  const stop = new AbortController();
  const running = AbortSignal.any([signal, stop.signal]);
  const bytes = async function* () {
    try {
      yield* repository.read(layer, { tries, pauseSeconds, onRetry }, running);
    } catch (error) {
      signal.throwIfAborted();
      throw explain(canonical, error);
    }
  };
  return { origin: canonical, sizeBytes: layer.size, bytes: bytes(), [Symbol.dispose]: () => stop.abort() };
}

/** Name in the manifest, of the file that `oras push` was given. */
const titleKey = 'org.opencontainers.image.title';

async function fetchManifest(
  repository: Repository,
  { canonical, digest }: ImageReference,
  signal: AbortSignal,
): Promise<ImageManifest> {
  const name = digest ?? canonical.slice(canonical.lastIndexOf(':') + 1);
  const found = await repository.manifest(name, signal);
  const document = parseManifest(found.bytes, found.mediaType);
  if (document.kind === 'manifest') return document;
  const chosen = await repository.manifest(chooseManifest(document, machinePlatform()).digest, signal);
  const manifest = parseManifest(chosen.bytes, chosen.mediaType);
  if (manifest.kind === 'manifest') return manifest;
  throw new UnusableImageError('its index names another index');
}

function findLayer({ layers }: ImageManifest): ContentDescriptor {
  const titled = layers.filter(({ annotations }) => annotations?.[titleKey] !== undefined);
  const [layer, ...others] = layers.length === 1 ? layers : titled;
  if (layer !== undefined && others.length === 0) return layer;
  const names = titled.map(({ annotations }) => annotations?.[titleKey]).join(', ');
  throw new UnusableImageError(
    titled.length === 0
      ? `it has ${layers.length} layers, and none has the name of a file: it is a container image, not a disk image`
      : `it has several files (${names}): push the disk image alone`,
  );
}

async function explained<Result>(
  canonical: string,
  signal: AbortSignal,
  action: () => Promise<Result>,
): Promise<Result> {
  try {
    return await action();
  } catch (error) {
    signal.throwIfAborted();
    throw explain(canonical, error);
  }
}

function explain(target: string, cause: unknown): unknown {
  if (!(cause instanceof RegistryError) && !(cause instanceof UnusableImageError)) return cause;
  return new InstallError({ what: 'download', target, why: reasonOf(cause), hint: hintFor(cause), cause });
}

function hintFor(cause: RegistryError | UnusableImageError): string {
  if (cause instanceof UnusableImageError) return 'push a disk image with: oras push REGISTRY/NAME:TAG FILE';
  switch (cause.reason) {
    case 'unauthorized':
      return 'give REGISTRY_USERNAME and REGISTRY_PASSWORD';
    case 'untrusted-certificate':
      return 'set SSL_CERT_FILE to a file with the certificate authority to trust, or SKIP_VERIFY=true';
    case 'not-found':
      return 'check the name and the tag in IMG_URL';
    default:
      return 'check the registry, the network, name resolution and proxy';
  }
}
