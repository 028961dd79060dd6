import { posix } from 'node:path';
import type { JsonCursor } from './json-cursor.ts';

export function whyNotAbsolute(path: string | undefined): string | undefined {
  if (path === undefined || path === '') return 'it is missing';
  return path.startsWith('/') ? undefined : `${path} is not an absolute path`;
}

/** Absolute, and without `..`, `//` or a slash at the end, so that a file has only one path. */
export function whyNotCleanPath(path: string | undefined): string | undefined {
  const why = whyNotAbsolute(path);
  if (why !== undefined || path === undefined) return why;
  const clean = cleanPath(path);
  return clean === path ? undefined : `${path} is not the shortest form of the path, which is ${clean}`;
}

/** `posix.normalize` keeps a slash at the end. */
export function cleanPath(path: string): string {
  return posix.normalize(path).replace(/(?<=.)\/$/, '');
}

export interface Owner {
  readonly id?: number | undefined;
  readonly name?: string | undefined;
}

export function checkOwner(owner: Owner | undefined, cursor: JsonCursor): void {
  if (owner?.id !== undefined && (owner.name ?? '') !== '')
    cursor.error('it has both id and name, but only one is allowed');
}

/**
 * @param special whether set-user-ID, set-group-ID and sticky bits have an effect in this version
 */
export function checkMode(mode: number | undefined, special: boolean, cursor: JsonCursor): void {
  if (mode === undefined) return;
  if (mode < 0 || mode > 0o7777) {
    cursor.error(`${mode} is not a mode: that is a decimal number from 0 to 4095 (0644 is 420)`);
  } else if (!special && mode > 0o777) {
    cursor.warn(
      `the set-user-ID, set-group-ID and sticky bits have no effect before version 3.4.0 (0644 is 420, not ${mode})`,
    );
  }
}
