/** An image's name, normalised as the Docker Engine does it (distribution's package `reference`). */
export interface ImageReference {
  /** Registry, `host` or `host:port`, lower case; `docker.io` for names without one. */
  readonly host: string;
  /** What the registry calls it, for example `library/busybox`. */
  readonly repository: string;
  /** `sha256:…`; names exactly one content. */
  readonly digest: string | undefined;
  /** The whole name, unambiguous for every engine: `host/repository@digest`, or `host/repository:tag`. */
  readonly canonical: string;
}

/** A text that cannot be the name of an image. */
export class ImageReferenceError extends Error {
  override readonly name = 'ImageReferenceError';
}

/**
 * `always`: the registry is put in front of every image, as tink-worker does; an image that begins with that registry already stays as it is.
 * `unqualified`: only in front of images that name no registry themselves.
 */
export type PrefixRule = 'always' | 'unqualified';

const component = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const repositoryPattern = new RegExp(`^${component}(?:/${component})*$`);
const hostPattern =
  /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:]+\])(?::[0-9]+)?$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const digestPattern = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;

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

  const normalHost = normaliseHost(host ?? 'docker.io');
  const repository =
    normalHost === 'docker.io' && !repositoryPath.includes('/') ? `library/${repositoryPath}` : repositoryPath;
  const end = digest === undefined ? `:${tag ?? 'latest'}` : `@${digest}`;
  return { host: normalHost, repository, digest, canonical: `${normalHost}/${repository}${end}` };
}

/** Which image to pull for the one a template names, where a registry is configured. */
export function withRegistry(image: string, registry: string | undefined, rule: PrefixRule): string {
  if (registry === undefined) return image;
  const prefix = registry.replace(/^https?:\/\//, '').replace(/\/+$/, '');
  if (image.startsWith(`${prefix}/`)) return image;
  if (rule === 'unqualified' && splitHost(image).host !== undefined) return image;
  return `${prefix}/${image.replace(/^\/+/, '')}`;
}

/** The host of a registry however it is written: with a scheme, a path, or as one of the names of Docker Hub. */
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
