import type { DebianArchitecture } from './package.ts';

/** A processor architecture that the products are built for, under the names that it has. */
export interface Architecture {
  /** That of the kernel (`uname --machine`), and of the files of the boot image. */
  readonly name: 'x86_64' | 'aarch64';
  readonly node: 'x64' | 'arm64';
  readonly debian: DebianArchitecture;
  /** That of GNU: binutils begin with it, directories of libraries are called so. */
  readonly gnu: string;
  /** Path of the loader that programs name, in the package libc6. */
  readonly loader: string;
}

export const architectures: readonly Architecture[] = [
  { name: 'x86_64', node: 'x64', debian: 'amd64', gnu: 'x86_64-linux-gnu', loader: 'lib64/ld-linux-x86-64.so.2' },
  { name: 'aarch64', node: 'arm64', debian: 'arm64', gnu: 'aarch64-linux-gnu', loader: 'lib/ld-linux-aarch64.so.1' },
];

/** That of the machine which runs this. */
export const hostArchitecture: Architecture = find(({ node }) => node === process.arch, process.arch);

/** @throws {Error} nothing is built for it */
export function architectureOf(name: string): Architecture {
  return find((one) => one.name === name, name);
}

function find(matches: (one: Architecture) => boolean, name: string): Architecture {
  const found = architectures.find(matches);
  if (found !== undefined) return found;
  const names = architectures.map((one) => one.name).join(' and ');
  throw new Error(`nothing is built for the architecture ${name}, only for ${names}`);
}
