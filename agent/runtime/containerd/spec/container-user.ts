import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { PlacedFileError, readPlacedFile } from '../../../../files/read-placed-file.ts';
import { ignoreMissing } from '../ignore-missing.ts';
import { SpecError } from './spec-error.ts';

/** User and groups of a container's program. */
export interface ContainerUser {
  readonly uid: number;
  readonly gid: number;
  readonly additionalGids: readonly number[];
}

/**
 * Resolves Docker's `USER`: `user[:group]`, each a name or a number; empty is root. Without a
 * group, the user has all of its groups.
 *
 * @param rootfs Directory with the files of the image; a link in it leads nowhere else.
 * @throws {SpecError} a name is in neither /etc/passwd nor /etc/group of the image
 */
export async function resolveUser(text: string | undefined, rootfs: string): Promise<ContainerUser> {
  const [user = '', group = ''] = (text ?? '').split(':');
  const refuse = (why: string) => new SpecError({ what: 'run as', target: `user ${JSON.stringify(text)}`, why });
  const wanted = user === '' ? '0' : user;
  const isWanted = ([name, , uid]: Entry) => wanted === (isNumber(wanted) ? uid : name);
  const [known] = await findEntries(await readText(rootfs, '/etc/passwd'), isWanted);
  const uid = idOf(known?.[2] ?? wanted);
  if (uid === undefined) throw refuse(`the image has no user ${user} in /etc/passwd`);
  const groups = await readText(rootfs, '/etc/group');
  if (group !== '') {
    const [entry] = await findEntries(groups, ([name]) => name === group);
    const gid = idOf(entry?.[2] ?? group);
    if (gid === undefined) throw refuse(`the image has no group ${group} in /etc/group`);
    return { uid, gid, additionalGids: [] };
  }
  const isMember = ([, , , members = '']: Entry) => known !== undefined && `,${members},`.includes(`,${known[0]},`);
  return {
    ...{ uid, gid: idOf(known?.[3] ?? '0') ?? 0 },
    additionalGids: (await findEntries(groups, isMember)).flatMap(([, , gid = '']) => idOf(gid) ?? []),
  };
}

function isNumber(text: string): boolean {
  return /^\d+$/.test(text);
}

/** `undefined`: no number, or one that the kernel does not accept. */
function idOf(text: string): number | undefined {
  return isNumber(text) && Number(text) < 2 ** 31 ? Number(text) : undefined;
}

/** Some ten thousand users. An image of half a megabyte can have a file of any size. */
const maxUserFileBytes = 1024 * 1024;

/** The first fields of a line of passwd(5) or group(5). */
type Entry = readonly [string, ...string[]];

/** passwd(5) or group(5) of the image; empty if it has none. */
async function readText(rootfs: string, path: string): Promise<string> {
  const real = await realPathWithin(rootfs, path);
  try {
    return (await ignoreMissing(readPlacedFile(real, maxUserFileBytes)))?.toString('utf8') ?? '';
  } catch (error) {
    if (!(error instanceof PlacedFileError)) throw error;
    if (error.reason === 'not-regular') return '';
    throw new SpecError({ what: 'read', target: `${path} in the image`, why: `it ${error.message}`, cause: error });
  }
}

/** A MiB can be a million lines: the event loop is held for some milliseconds at a time. */
async function findEntries(text: string, isWanted: (entry: Entry) => boolean): Promise<Entry[]> {
  const found: Entry[] = [];
  let count = 0;
  for (const [line] of text.matchAll(/[^\n]+/g)) {
    const entry = line.trim().split(':', 4) as [string, ...string[]];
    if (isWanted(entry)) found.push(entry);
    count += 1;
    if (count % 10_000 === 0) await setImmediate();
  }
  return found;
}

/** Follows links as if the directory were `/`, like chroot(2). */
async function realPathWithin(rootfs: string, path: string): Promise<string> {
  const todo = path.split('/');
  const done: string[] = [];
  for (let links = 0; todo.length > 0; ) {
    const part = todo.shift() ?? '';
    if (part === '..') done.pop();
    if (['', '.', '..'].includes(part)) continue;
    const link = await linkOf(join(rootfs, ...done, part));
    if (link === undefined) done.push(part);
    else if (links++ === 40)
      throw new SpecError({ what: 'read', target: `${path} in the image`, why: 'too many links' });
    else todo.unshift(...link.split('/'));
    if (link?.startsWith('/')) done.length = 0;
  }
  return join(rootfs, ...done);
}

/** `undefined`: it is no link. */
async function linkOf(path: string): Promise<string | undefined> {
  return (await ignoreMissing(lstat(path)))?.isSymbolicLink() ? await readlink(path) : undefined;
}
