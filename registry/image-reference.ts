import { posix } from 'node:path';

/**
 * An image's name, normalised as the Docker Engine does it (distribution's package `reference`).
 */
export interface ImageReference {
  /** Registry, `host` or `host:port`, lower case; `docker.io` for names without one. */
  readonly host: string;
  /** What the registry calls it, for example `library/busybox`. */
  readonly repository: string;
  /** `sha256:…`; names exactly one content. */
  readonly digest: string | undefined;
  /**
   * The whole name, unambiguous for every engine: `host/repository@digest`, or
   * `host/repository:tag`; the host as it was written.
   */
  readonly canonical: string;
}

/** A text that cannot be the name of an image. */
export class ImageReferenceError extends Error {
  override readonly name = 'ImageReferenceError';
}

/**
 * `always`: the registry is put in front of every image, as tink-worker does. `unqualified`: only
 * in front of images that name no registry themselves. `never`: images are named in full, as for
 * tink-agent.
 */
export type PrefixRule = 'always' | 'unqualified' | 'never';

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const repositoryPattern = new RegExp(`^${component}(?:/${component})*$`);
const hostPattern =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const digestPattern = /^(?:sha256:[0-9a-f]{64}|sha384:[0-9a-f]{96}|sha512:[0-9a-f]{128})$/;
const maxRepositoryCharacters = 255;

/**
 * Parses the name of an image: `[host[:port]/]path[:tag][@digest]`.
 * @throws {ImageReferenceError} with the text and what is wrong with it.
 */
export function parseReference(text: string): ImageReference {
  const [beforeDigest = '', digest, ...rest] = text.split('@');
  if (rest.length > 0 || (digest !== undefined && !digestPattern.test(digest)))
    throw notA(text, 'its digest is malformed');
  const { host, path } = splitHost(beforeDigest);
  const [repositoryPath = '', tag, ...moreTags] = path.split(':');
  if (moreTags.length > 0 || (tag !== undefined && !tagPattern.test(tag))) throw notA(text, 'its tag is malformed');
  if (!repositoryPattern.test(repositoryPath)) {
    const hint = /[A-Z]/.test(repositoryPath) ? ' (it must be lower case)' : '';
    throw notA(text, `the repository "${repositoryPath}" is malformed${hint}`);
  }
  if (host !== undefined && !hostPattern.test(host)) throw notA(text, `the registry "${host}" is malformed`);
  if (/^[0-9a-f]{64}$/.test(text)) throw notA(text, 'it is the id of one');

  const named = host === undefined || host === 'index.docker.io' ? 'docker.io' : host;
  const repository =
    named === 'docker.io' && !repositoryPath.includes('/') ? `library/${repositoryPath}` : repositoryPath;
  if (repository.length > maxRepositoryCharacters)
    throw notA(text, `its repository has more than ${maxRepositoryCharacters} characters`);
  const end = digest === undefined ? `:${tag ?? 'latest'}` : `@${digest}`;
  return { host: normaliseHost(named), repository, digest, canonical: `${named}/${repository}${end}` };
}

/**
 * Which image to pull for the one a template names, where a registry is configured. `always` joins
 * them as paths, as tink-worker does, with one exception: an image that begins with the registry
 * already, and with the registry twice would be no name of an image, stays as it is.
 */
export function withRegistry(image: string, registry: string | undefined, rule: PrefixRule): string {
  if (rule === 'never') return image;
  if (rule === 'unqualified' && !namesNoRegistry(image)) return image;
  const prefix = registryPath(registry ?? '');
  const joined = posix.join(prefix, image).replace(/\/+$/, '');
  return image.startsWith(`${prefix}/`) && (rule === 'unqualified' || !isReference(joined)) ? image : joined;
}

/**
 * `host[:port][/path]` of a registry or of a part of one, as it stands in the names of its images.
 * @param registry may have a scheme and slashes at its end
 */
export function registryPath(registry: string): string {
  return registry.replace(/^https?:\/\//, '').replace(/\/+$/, '');
}

export function namesNoRegistry(image: string): boolean {
  return splitHost(image).host === undefined;
}

function isReference(text: string): boolean {
  try {
    parseReference(text);
    return true;
  } catch (error) {
    if (error instanceof ImageReferenceError) return false;
    throw error;
  }
}

/**
 * The host of a registry however it is written: with a scheme, a path, or as one of the names of
 * Docker Hub.
 */
export function normaliseHost(registry: string): string {
  const host = registry
    .replace(/^https?:\/\//, '')
    .replace(/\/.*$/, '')
    .toLowerCase();
  return ['index.docker.io', 'registry-1.docker.io'].includes(host) ? 'docker.io' : host;
}

/** The first component is a host if it could not be one of a path. */
function splitHost(name: string): { host: string | undefined; path: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  const isHost = /[.:[]/.test(first) || first === 'localhost' || first !== first.toLowerCase();
  return isHost ? { host: first, path: name.slice(slash + 1) } : { host: undefined, path: name };
}

function notA(text: string, why: string): ImageReferenceError {
  return new ImageReferenceError(`"${text}" is not the name of an image: ${why}`);
}
