import { lstat, readlink } from 'node:fs/promises';
import { join } from 'node:path';
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
  const known = (await entriesOf(rootfs, '/etc/passwd')).find(
    ([name, , uid]) => wanted === (isNumber(wanted) ? uid : name),
  );
  const uid = idOf(known?.[2] ?? wanted);
  if (uid === undefined) throw refuse(`the image has no user ${user} in /etc/passwd`);
  const groups = await entriesOf(rootfs, '/etc/group');
  if (group !== '') {
    const gid = idOf(groups.find(([name]) => name === group)?.[2] ?? group);
    if (gid === undefined) throw refuse(`the image has no group ${group} in /etc/group`);
    return { uid, gid, additionalGids: [] };
  }
  const member = groups.filter(([, , , members = '']) => known !== undefined && members.split(',').includes(known[0]));
  return {
    ...{ uid, gid: idOf(known?.[3] ?? '0') ?? 0 },
    additionalGids: member.map(([, , gid = '']) => idOf(gid)).filter((gid) => gid !== undefined),
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

/** The lines of passwd(5) or group(5), or none. */
async function entriesOf(rootfs: string, path: string): Promise<[string, ...string[]][]> {
  const real = await realPathWithin(rootfs, path);
  try {
    const content = await ignoreMissing(readPlacedFile(real, maxUserFileBytes));
    const lines = content?.toString('utf8').split('\n') ?? [];
    return lines.map((line) => line.trim().split(':') as [string, ...string[]]);
  } catch (error) {
    if (!(error instanceof PlacedFileError)) throw error;
    if (error.reason === 'not-regular') return [];
    throw new SpecError({ what: 'read', target: `${path} in the image`, why: `it ${error.message}`, cause: error });
  }
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
