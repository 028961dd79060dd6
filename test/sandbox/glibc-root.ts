import { mkdir, mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { updateAptRoot } from '../../debian/apt-root.ts';
import { debianArchive } from '../../debian/archive.ts';
import { fetchPackages } from '../../debian/fetch.ts';
import { aptDirectory, packageDirectory, selectPackages } from '../../debian/select.ts';
import { unpackPackages } from '../../debian/unpack.ts';
import { agentPackages, productLock } from '../../initramfs/package-sets.ts';

/**
 * A root directory with nothing in it but glibc and libgcc_s of a release of Debian, as the
 * smallest host of the executable; it goes when it is disposed of.
 */
export interface GlibcRoot extends AsyncDisposable {
  readonly path: string;
}

/** Debian 12 as it is today, without its updates. */
const bookworm = { ...debianArchive, release: 'bookworm', suites: [], components: ['main'] } as const;

/**
 * @param release its packages are fetched once and kept: those of trixie as locked for the
 *   products, those of bookworm in their current versions
 */
export async function makeGlibcRoot(release: 'bookworm' | 'trixie'): Promise<GlibcRoot> {
  const files = release === 'trixie' ? await lockedFiles() : await bookwormFiles();
  const root = await mkdtempDisposable(join(tmpdir(), `nibs-${release}-`));
  for (const directory of ['dev', 'proc', 'sys', 'tmp']) await mkdir(join(root.path, directory));
  await unpackPackages(files.values(), root.path, ['./usr/share']);
  return { path: root.path, [Symbol.asyncDispose]: () => root.remove() };
}

async function lockedFiles(): Promise<ReadonlyMap<string, string>> {
  return (await selectPackages(agentPackages, { lockFile: productLock, architecture: 'amd64' })).files;
}

async function bookwormFiles(): Promise<ReadonlyMap<string, string>> {
  await using root = await updateAptRoot(`${aptDirectory('amd64')}-bookworm`, bookworm, 'amd64');
  const { files, missing, errors } = await fetchPackages(
    await root.resolve(agentPackages),
    packageDirectory(),
    bookworm,
  );
  if (missing.length > 0) throw new AggregateError(errors, 'no mirror has glibc of bookworm');
  return files;
}
