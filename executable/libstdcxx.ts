/**
 * The C++ library that the executable has in it (docs/executable.md): that of Debian 11, which
 * needs no newer glibc than Node itself does.
 */
import { mkdir, mkdtempDisposable, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { debianMirrors } from '../debian/mirrors.ts';
import type { Library } from '../sbom/sbom.ts';
import { runTool } from '../tools/run-tool.ts';

interface Source {
  /** Path of the package below a mirror of Debian. */
  readonly path: string;
  readonly sha256: string;
  /** Path of the library inside the package. */
  readonly library: string;
}

const pool = 'pool/main/g/gcc-10';
const sources: Readonly<Partial<Record<NodeJS.Architecture, Source>>> = {
  x64: {
    path: `${pool}/libstdc++6_10.2.1-6_amd64.deb`,
    sha256: '5c155c58935870bf3b4bfe769116841c0d286a74f59eccfd5645693ac23f06b1',
    library: './usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.28',
  },
  arm64: {
    path: `${pool}/libstdc++6_10.2.1-6_arm64.deb`,
    sha256: '7869aa540cc46e9f3d4267d5bde2af0e5b429a820c1d6f1a4cfccfe788c31890',
    library: './usr/lib/aarch64-linux-gnu/libstdc++.so.6.0.28',
  },
};

/** The library, for a bill of materials. */
export function libstdcxx(architecture: NodeJS.Architecture): Library {
  const [, version = '', debian = ''] = /_([^_]+)_([^_]+)\.deb$/.exec(sourceFor(architecture).path) ?? [];
  const purl = `pkg:deb/debian/libstdc++6@${version}?arch=${debian}&distro=bullseye`;
  return { name: 'libstdc++6', version, license: 'GPL-3.0-or-later WITH GCC-exception-3.1', purl };
}

function sourceFor(architecture: NodeJS.Architecture): Source {
  const source = sources[architecture];
  if (source === undefined) throw new Error(`no libstdc++ is named for ${architecture} (executable/libstdcxx.ts)`);
  return source;
}

/**
 * @param cache directory in which the package is kept, under its checksum
 * @returns the file of the shared library
 * @throws {Error} no mirror of Debian has the package
 */
export async function fetchLibstdcxx(architecture: NodeJS.Architecture, cache: string): Promise<Buffer> {
  const source = sourceFor(architecture);
  const file = join(cache, `${source.sha256}.deb`);
  const isThere = await readFile(file).then(
    () => true,
    () => false,
  );
  if (!isThere) await download(source, file, cache);
  const { stdout } = await execa('dpkg-deb', ['--fsys-tarfile', file], { buffer: false }).pipe(
    'tar',
    ['--extract', '--to-stdout', source.library],
    { encoding: 'buffer' },
  );
  return Buffer.from(stdout);
}

/**
 * apt checks the checksum: a mirror that has something else under this name counts as one that does
 * not have it.
 */
async function download({ path, sha256 }: Source, file: string, cache: string): Promise<void> {
  await mkdir(cache, { recursive: true });
  await using scratch = await mkdtempDisposable(join(cache, 'arriving-'));
  const arriving = join(scratch.path, 'package.deb');
  const mirrors = await debianMirrors();
  const errors: unknown[] = [];
  for (const mirror of mirrors) {
    try {
      const options = ['--option=APT::Sandbox::User=root'];
      await runTool(
        '/usr/lib/apt/apt-helper',
        [...options, 'download-file', `${mirror}/${path}`, arriving, `SHA256:${sha256}`],
        { timeoutSeconds: Number.POSITIVE_INFINITY },
      );
      await rename(arriving, file);
      return;
    } catch (error) {
      errors.push(error);
    }
  }
  throw new Error(
    `no mirror of Debian has ${path} (asked: ${mirrors.join(', ') || 'none'}); name one with DEBIAN_MIRROR=URL`,
    { cause: new AggregateError(errors) },
  );
}
