import { mkdir, mkdtempDisposable, readdir, rename, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { execa } from 'execa';
import { debianMirrors } from '../../debian/mirrors.ts';

const packages = ['libc6', 'libgcc-s1'];
const cache = resolve(import.meta.dirname, '../../build/cache');

/** A root directory with nothing in it but glibc and libgcc_s of a release of Debian, as the smallest host of the executable; it goes when it is disposed of. */
export interface GlibcRoot extends AsyncDisposable {
  readonly path: string;
}

/** @param suite for example `trixie`; its packages are fetched once and kept */
export async function makeGlibcRoot(suite: string): Promise<GlibcRoot> {
  const root = await mkdtempDisposable(join(tmpdir(), `nibs-${suite}-`));
  for (const directory of ['usr/lib', 'usr/lib64', 'usr/bin', 'dev', 'proc', 'sys', 'tmp'])
    await mkdir(join(root.path, directory), { recursive: true });
  for (const directory of ['lib', 'lib64']) await symlink(`usr/${directory}`, join(root.path, directory));
  for (const file of await fetchPackages(suite)) {
    const names = ['--extract', '--keep-directory-symlink', '--exclude=./usr/share', '--directory', root.path];
    await execa('dpkg-deb', ['--fsys-tarfile', file], { buffer: false }).pipe('tar', names);
  }
  return { path: root.path, [Symbol.asyncDispose]: () => root.remove() };
}

async function fetchPackages(suite: string): Promise<string[]> {
  const directory = join(cache, `glibc-${suite}`);
  const present = await readdir(directory).catch(() => []);
  if (present.length === 0) await download(suite, directory);
  return (await readdir(directory)).map((name) => join(directory, name));
}

/** With lists of its own, apt fetches what the machine's own release does not have. */
async function download(suite: string, directory: string): Promise<void> {
  await mkdir(cache, { recursive: true });
  await using scratch = await mkdtempDisposable(join(cache, 'arriving-'));
  const at = (name: string) => join(scratch.path, name);
  const key = '/usr/share/keyrings/debian-archive-keyring.gpg';
  const [mirror = 'none'] = await debianMirrors();
  await writeFile(at('sources.list'), `deb [arch=amd64 signed-by=${key}] ${mirror} ${suite} main\n`);
  await writeFile(at('status'), '');
  for (const name of ['lists/partial', 'cache/archives/partial', 'packages'])
    await mkdir(at(name), { recursive: true });
  const options = Object.entries({
    'Dir::Etc::sourcelist': at('sources.list'),
    'Dir::Etc::sourceparts': '-',
    'Dir::State::lists': at('lists'),
    'Dir::State::status': at('status'),
    'Dir::Cache': at('cache'),
    'APT::Sandbox::User': 'root',
    'Acquire::Languages': 'none',
  }).map(([name, value]) => `--option=${name}=${value}`);
  await execa('apt-get', ['update', '--quiet=2', ...options]);
  await execa('apt-get', ['download', '--quiet=2', ...options, ...packages.map((name) => `${name}:amd64`)], {
    cwd: at('packages'),
  });
  await rename(at('packages'), directory).catch((error: NodeJS.ErrnoException) => {
    // Another test has fetched the same packages meanwhile.
    if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
  });
}
