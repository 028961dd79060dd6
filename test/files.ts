/**
 * The test files: what each needs, and which of them take long. `node test/files.ts FILE...` prints the
 * layer of each.
 */

import { glob, readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { build } from 'esbuild';

/**
 * - unit: Node alone, as any user. No file that it loads starts a program, and none in test/ gives a file to another user.
 * - integration: programs of the machine, mostly as root.
 * - machine: starts a virtual machine.
 */
export type Layer = 'unit' | 'integration' | 'machine';

export interface TestFile {
  /** Relative to the repository. */
  readonly path: string;
  readonly layer: Layer;
}

export const repository = join(import.meta.dirname, '..');

/**
 * Take longer than the others and therefore start first, in this order: those that mostly wait stand
 * between those that need the processor (virtual machines are emulated).
 *
 * `elsewhere: false`: not run on another release of Debian (`test/run.ts --elsewhere`), because they
 * need much processor time for what is our own code: kills and floods at many moments, decoders, whole
 * images and installations. The programs of the machine that they use, cheaper ones use too:
 * surroundings, device and dry-run those for disks, container-runtime and restart the engines.
 */
export const longFiles: readonly { readonly path: string; readonly elsewhere?: false }[] = [
  { path: 'test/agent/kill-anywhere.test.ts', elsewhere: false },
  { path: 'test/initramfs/boot.test.ts' },
  { path: 'test/agent/outage.test.ts', elsewhere: false },
  { path: 'test/e2e/seed-image.test.ts', elsewhere: false },
  { path: 'test/sandbox/os-image/layout.test.ts', elsewhere: false },
  { path: 'test/initramfs/network.test.ts' },
  { path: 'test/installer/interrupt.test.ts', elsewhere: false },
  { path: 'test/initramfs/agent-hosts.test.ts' },
  { path: 'test/agent/runtime/container-runtime.test.ts' },
  { path: 'test/initramfs/captain.test.ts', elsewhere: false },
  { path: 'test/agent/syslog/receivers.test.ts' },
  { path: 'test/agent/runtime/restart.test.ts' },
  { path: 'test/installer/install.test.ts', elsewhere: false },
  { path: 'test/agent/runtime/hostname.test.ts' },
  { path: 'test/agent/runtime/log-drivers.test.ts' },
  { path: 'test/agent/runtime/flood.test.ts', elsewhere: false },
  { path: 'test/agent/runtime/containerd/image/pull.test.ts' },
  { path: 'test/agent/runtime/images.test.ts' },
  { path: 'test/agent/main.test.ts', elsewhere: false },
  { path: 'test/sandbox/machine.test.ts' },
  { path: 'test/agent/faults.test.ts', elsewhere: false },
  { path: 'test/agent/flood.test.ts', elsewhere: false },
  { path: 'test/installer/embedded-key.test.ts', elsewhere: false },
  { path: 'test/installer/decompress/bzip2/bzip2.test.ts', elsewhere: false },
  { path: 'test/installer/decompress/bzip2/threads.test.ts', elsewhere: false },
  { path: 'test/installer/disk/write.test.ts', elsewhere: false },
  { path: 'test/installer/main.test.ts', elsewhere: false }, // takes the smallest of the disks that other tests have, too
  { path: 'test/installer/verify.test.ts', elsewhere: false },
  { path: 'test/agent/transport/file/file.test.ts', elsewhere: false },
  // These look at what was built, which is the same wherever it was built.
  { path: 'test/executable/alone.test.ts', elsewhere: false },
  { path: 'test/executable/elf/link-library.test.ts', elsewhere: false },
];

/** What starts programs imports one of these; esbuild, node-disk-info and systeminformation start some themselves. */
const programStarters = ['execa', 'node:child_process', 'esbuild', 'node-disk-info', 'systeminformation'];

const changesOwner = /^import \{[^}]*\bchown\b[^}]*\} from 'node:fs\/promises';$/m;

/** Node's arguments for unit tests: a program that one starts all the same fails with ERR_ACCESS_DENIED. */
export const unitArguments = [
  ...['--permission', '--allow-fs-read=*', '--allow-fs-write=*', '--allow-worker', '--allow-wasi', '--allow-addons'],
  ...['PERM0001', 'PERM0005', 'PERM0006'].map((code) => `--disable-warning=${code}`), // that the model has gaps
];

/**
 * All test files, the long ones first, then by name.
 * @throws {Error} a long file does not exist
 */
export async function findTestFiles(): Promise<readonly TestFile[]> {
  const found = (await Array.fromAsync(glob('test/**/*.test.ts', { cwd: repository }))).sort();
  const long = longFiles.map(({ path }) => path);
  const missing = long.filter((path) => !found.includes(path));
  if (missing.length > 0) throw new Error(`test/files.ts names files that do not exist: ${missing.join(', ')}`);
  return await classify([...long, ...found.filter((path) => !long.includes(path))]);
}

/** @param paths of test files, relative to the repository */
export async function classify(paths: readonly string[]): Promise<readonly TestFile[]> {
  const { metafile } = await build({
    ...{ entryPoints: [...paths], absWorkingDir: repository, bundle: true, metafile: true, write: false },
    ...{ outdir: 'build', outbase: '.', platform: 'node', format: 'esm', packages: 'external', logLevel: 'error' },
  });
  const startsPrograms = (path: string) =>
    metafile.inputs[path]?.imports.some((one) => programStarters.includes(one.path)) === true;
  const needsRoot = new Set<string>();
  for (const path of Object.keys(metafile.inputs)) {
    if (path.startsWith('test/') && changesOwner.test(await readFile(join(repository, path), 'utf8')))
      needsRoot.add(path);
  }
  const loaded = new Map(
    Object.values(metafile.outputs).map(({ entryPoint, inputs }) => [entryPoint, Object.keys(inputs)]),
  );
  return paths.map((path) => {
    const files = loaded.get(path) ?? [];
    if (files.includes('test/sandbox/machine.ts')) return { path, layer: 'machine' };
    return { path, layer: files.some((file) => startsPrograms(file) || needsRoot.has(file)) ? 'integration' : 'unit' };
  });
}

if (import.meta.main) {
  const files = await classify(process.argv.slice(2).map((path) => relative(repository, resolve(path))));
  for (const { layer } of files) process.stdout.write(`${layer}\n`);
}
