import { InstallError } from './errors.ts';
import type { SignedBy } from './verify.ts';

/** The oldest image to accept: its version, or the date of its signature. */
export type OldestImage =
  | { readonly kind: 'version'; readonly version: string }
  | { readonly kind: 'date'; readonly date: Date };

/** What an image is known to be. */
export interface KnownImage {
  readonly signedBy: SignedBy | undefined;
  /** As the image itself says. `undefined`: that is not known. */
  readonly version: string | undefined;
}

/**
 * @param target the image, for the message
 * @throws {InstallError} it is older, or its age cannot be proven
 */
export function refuseOlder(target: string, oldest: OldestImage | undefined, image: KnownImage): void {
  const why = oldest === undefined ? undefined : whyOlder(oldest, image);
  if (why === undefined) return;
  const hint = 'use a mirror with a newer image, or another --not-older-than';
  throw new InstallError({ what: 'install', target, why, hint });
}

function whyOlder(oldest: OldestImage, { signedBy, version }: KnownImage): string | undefined {
  if (oldest.kind === 'date') {
    if (signedBy === undefined) return 'without a signature its age is not known';
    if (signedBy.created >= oldest.date) return undefined;
    return `it was signed at ${signedBy.created.toISOString()}, before ${oldest.date.toISOString()}`;
  }
  if (version === undefined) return 'its version cannot be read from the disk';
  if (compareVersions(version, oldest.version) >= 0) return undefined;
  return `it is version ${version}, older than ${oldest.version}`;
}

/** @returns negative: `a` is older than `b` */
export function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(/[.+-]/).map((part) => Number.parseInt(part, 10) || 0));
  for (let index = 0; index < 3; index++) {
    const difference = (left?.[index] ?? 0) - (right?.[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}

/**
 * A version of Flatcar, as servers and images may give it. It gets into URLs, paths and terminals.
 */
export function isVersion(text: string): boolean {
  return /^\d{1,6}\.\d{1,6}\.\d{1,6}(?:[-+][\w.+-]{1,80})?$/.test(text);
}

/** Whether an image is what `wanted` names; names of directories are not compared. */
export function isSameVersion(is: string, wanted: string): boolean {
  return !isVersion(wanted) || compareVersions(is, wanted) === 0;
}
