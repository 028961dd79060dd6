import { createHash } from 'node:crypto';
import { chmod, copyFile, lutimes, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative } from 'node:path';
import { gzipSync } from 'node:zlib';
import { runTool } from '../../tools/run-tool.ts';

/** A binary package. */
export interface DebianPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: 'amd64' | 'arm64';
  /** Further fields of its control file; Installed-Size is added. */
  readonly fields: Readonly<Record<string, string>>;
  readonly description: Description;
  /** Path in the package, without a slash at its start → what is there. */
  readonly files: Readonly<Record<string, PackageFile>>;
  /** Files that dpkg keeps as they are when a person has changed them. */
  readonly conffiles: readonly string[];
  /** Name → script. */
  readonly maintainerScripts: Readonly<Record<string, string>>;
  /** Time of all its files, seconds since 1970. */
  readonly timeSeconds: number;
}

interface Description {
  readonly synopsis: string;
  /** Paragraphs. */
  readonly text: readonly string[];
}

/** A copy of a file, a text, a text that is compressed, or a symbolic link. Default mode: 644. */
export type PackageFile =
  | { readonly copyOf: string; readonly mode?: number }
  | { readonly content: string; readonly mode?: number }
  | { readonly compressed: string }
  | { readonly linkTo: string };

/**
 * Writes a package (deb(5)) with dpkg-deb. Same contents and time, same bytes, whatever the umask.
 * Needs no root.
 * @param path of the .deb
 * @param scratch an empty directory
 * @param compressionLevel of xz, 0 to 9. Default: 6
 */
export async function writeDebianPackage(
  one: DebianPackage,
  path: string,
  scratch: string,
  compressionLevel = '6',
): Promise<void> {
  for (const [name, file] of Object.entries(one.files)) await writePackageFile(join(scratch, name), file);
  const control = join(scratch, 'DEBIAN');
  const installedBytes = await sizeOf(scratch);
  await mkdir(control);
  await writeFile(join(control, 'md5sums'), await checksums(scratch, Object.keys(one.files)));
  await writeFile(join(control, 'control'), controlFile(one, installedBytes));
  if (one.conffiles.length > 0)
    await writeFile(join(control, 'conffiles'), one.conffiles.map((name) => `/${name}\n`).join(''));
  for (const [name, script] of Object.entries(one.maintainerScripts)) {
    await writeFile(join(control, name), script);
    await chmod(join(control, name), 0o755);
  }
  await unify(scratch, one.timeSeconds);
  // One thread: several make blocks, whose size depends on their number.
  const options = ['--root-owner-group', '-Zxz', `-z${compressionLevel}`, '--threads-max=1'];
  const environment = { SOURCE_DATE_EPOCH: String(one.timeSeconds) };
  await runTool('dpkg-deb', [...options, '--build', scratch, `${path}.unfinished`], {
    environment,
    timeoutSeconds: Number.POSITIVE_INFINITY,
  });
  await rename(`${path}.unfinished`, path);
}

async function writePackageFile(path: string, file: PackageFile): Promise<void> {
  await mkdir(dirname(path), { recursive: true });
  if ('linkTo' in file) return await symlink(file.linkTo, path);
  if ('copyOf' in file) await copyFile(file.copyOf, path);
  else await writeFile(path, 'content' in file ? file.content : gzipSync(file.compressed, { level: 9 }));
  await chmod(path, ('mode' in file && file.mode) || 0o644);
}

/** As `md5sum` prints them. Links have none. */
async function checksums(scratch: string, names: readonly string[]): Promise<string> {
  const lines = [];
  for (const name of [...names].sort()) {
    const path = join(scratch, name);
    if (!(await isRegular(path))) continue;
    lines.push(
      `${createHash('md5')
        .update(await readFile(path))
        .digest('hex')}  ${name}\n`,
    );
  }
  return lines.join('');
}

async function isRegular(path: string): Promise<boolean> {
  const [entry] = (await readdir(dirname(path), { withFileTypes: true })).filter(({ name }) =>
    path.endsWith(`/${name}`),
  );
  return entry?.isFile() === true;
}

/** As dpkg-gencontrol counts it: files in units of 1 KiB, a directory or a link as one. */
async function sizeOf(scratch: string): Promise<number> {
  const entries = await readdir(scratch, { recursive: true, withFileTypes: true });
  const sizes = entries.map(async (entry) => {
    if (!entry.isFile()) return 1;
    return Math.ceil((await stat(join(entry.parentPath, entry.name))).size / 1024);
  });
  return (await Promise.all(sizes)).reduce((sum, size) => sum + size, 0);
}

function controlFile(one: DebianPackage, installedKibibytes: number): string {
  const { synopsis, text } = one.description;
  const fields = {
    Package: one.name,
    Version: one.version,
    Architecture: one.architecture,
    ...one.fields,
    'Installed-Size': String(installedKibibytes),
    Description: [synopsis, ...text.join('\n.\n').split('\n')].join('\n '),
  };
  return Object.entries(fields)
    .map(([name, value]) => `${name}: ${value}\n`)
    .join('');
}

/** Gives directories the mode 755, and everything one time. */
async function unify(directory: string, timeSeconds: number): Promise<void> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  const names = entries.map((entry) => [relative(directory, join(entry.parentPath, entry.name)), entry] as const);
  for (const [name, entry] of [...names, ['.', undefined] as const]) {
    if (entry === undefined || entry.isDirectory()) await chmod(join(directory, name), 0o755);
  }
  // Deepest first: a change below a directory changes its time.
  for (const name of [
    ...names
      .map(([name]) => name)
      .sort()
      .reverse(),
    '.',
  ])
    await lutimes(join(directory, name), timeSeconds, timeSeconds);
}
