import { posix } from 'node:path';
import { type Dialect, specialBits } from './dialect.ts';
import type { JsonCursor } from './findings.ts';

export function whyNotAbsolute(path: string): string | undefined {
  if (path === '') return 'it is missing';
  return path.startsWith('/') ? undefined : `${path} is not an absolute path`;
}

/** Absolute, and without `..`, `//` or a slash at the end, so that a file has only one path. */
export function whyNotCleanPath(path: string): string | undefined {
  const why = whyNotAbsolute(path);
  if (why !== undefined) return why;
  const clean = cleanPath(path);
  return clean === path ? undefined : `${path} is not the shortest form of the path, which is ${clean}`;
}

/** `posix.normalize` keeps a slash at the end. */
export function cleanPath(path: string): string {
  return posix.normalize(path).replace(/(?<=.)\/$/, '');
}

/** As Go's `path.Join`: parts without text are left out. */
export function joinPath(...parts: readonly string[]): string {
  return cleanPath(parts.filter((part) => part !== '').join('/'));
}

/** The first of `links` through which a path leads; `undefined` if there is none. */
export function findLinkOnTheWay(path: string, links: ReadonlySet<string>): string | undefined {
  for (let slash = path.indexOf('/'); slash >= 0; slash = path.indexOf('/', slash + 1)) {
    const parent = path.slice(0, slash);
    if (links.has(parent)) return parent;
  }
  return undefined;
}

/**
 * As Go's `path.Ext`: from the last dot of the last component on, even if the name begins with it.
 */
export function extensionOf(path: string): string {
  const base = path.slice(path.lastIndexOf('/') + 1);
  const dot = base.lastIndexOf('.');
  return dot < 0 ? '' : base.slice(dot);
}

interface Owner {
  readonly id: bigint | undefined;
  readonly name: string | undefined;
}

export function checkOwner(owner: Owner, cursor: JsonCursor): void {
  if (owner.id !== undefined && (owner.name ?? '') !== '')
    cursor.error('it has both id and name, but only one is allowed');
}

const modeHint = '0644 is 420';

export function whyNotMode(mode: bigint | undefined): string | undefined {
  if (mode === undefined || (mode >= 0n && mode <= 0o7777n)) return undefined;
  return `${mode} is not a mode: that is a decimal number from 0 to 4095 (${modeHint})`;
}

export function checkMode(mode: bigint | undefined, dialect: Dialect, cursor: JsonCursor): void {
  cursor.error(whyNotMode(mode));
  // Ignition looks at the bits of wrong modes too.
  if (mode === undefined || (mode & 0o7000n) === 0n) return;
  const what = `set-user-ID, set-group-ID and sticky bits are dropped (${modeHint}, not ${mode})`;
  const treatment = specialBits(dialect);
  if (treatment === 'warned of') cursor.warn(`${what}; only 3.6.0 and later keep them`);
  else if (treatment === 'dropped') cursor.advise(`${what} by the Ignition of this release`);
}
