/**
 * Builds the operating system that the sandbox installs: a small Debian in Flatcar's partition
 * layout, compressed and signed as a release server offers it.
 *
 *     node test/sandbox/os-image/build.ts [--output build/os-image]
 */
import { createHash } from 'node:crypto';
import { glob, mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { fingerprint } from '../../../debian/select.ts';
import { lockFile } from '../../../tools/file-lock.ts';
import { selectOsImage } from '../packages.ts';
import { makeDisk } from './disk.ts';
import { makeInitramfs } from './initramfs.ts';
import { makeMirror } from './mirror.ts';
import { osVersion } from './recipe.ts';
import { makeSystem } from './system.ts';

const here = import.meta.dirname;
const repository = resolve(here, '../../..');

const Stamp = z.object({
  /** Hash of the recipe and of the versions of all packages. */
  recipe: z.string(),
  version: z.string(),
  rawSizeBytes: z.int(),
  compressedSizeBytes: z.int(),
});

/** The finished image and its mirror. */
export interface OsImage extends z.infer<typeof Stamp> {
  /** The raw disk image, a sparse file. Copy it before a machine writes to it. */
  readonly disk: string;
  /** Root of the release server: `<version>/…` and `current/…`. */
  readonly mirror: string;
  /** Armoured OpenPGP public key that the image is signed with. */
  readonly signingKey: string;
}

/**
 * Builds the image into `output`, or returns what is there if nothing it is made of has changed.
 * Several processes may ask at once: one builds, the others wait.
 * @throws {Error} a package is missing or a tool fails
 */
export async function buildOsImage(
  options: { readonly output?: string; readonly signal?: AbortSignal } = {},
): Promise<OsImage> {
  const output = resolve(options.output ?? join(repository, 'build/os-image'));
  const cache = join(repository, 'build/cache/os-image');
  const signal = options.signal ?? new AbortController().signal;
  await mkdir(cache, { recursive: true });
  await using _building = await lockFile(join(cache, 'lock'), { signal });

  const { packages, files: packageFiles } = await selectOsImage(signal);
  const recipe = `${await hashOwnFiles()} ${fingerprint(packages)}`;
  const finished = await readFinished(output);
  if (finished?.recipe === recipe) return finished;

  const work = `${output}.work`; // beside the output, so that the result moves there in one step
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true });
  const files = join(here, 'files');
  const system = await makeSystem(packageFiles, join(files, 'root'), work, signal);
  const initramfs = await makeInitramfs(system, join(files, 'initramfs'), work, signal);
  const disk = await makeDisk(system, initramfs, files, work, signal);
  const result = join(work, 'result');
  await mkdir(result);
  const compressed = await makeMirror(disk, osVersion, join(result, 'mirror'), join(result, 'signing-key.asc'), signal);
  await rename(disk, join(result, 'disk.img'));
  const stamp: z.infer<typeof Stamp> = {
    recipe,
    version: osVersion,
    rawSizeBytes: (await stat(join(result, 'disk.img'))).size,
    compressedSizeBytes: (await stat(compressed)).size,
  };
  await writeFile(join(result, 'stamp.json'), `${JSON.stringify(stamp, undefined, 2)}\n`);
  await rm(output, { recursive: true, force: true });
  await rename(result, output);
  await rm(work, { recursive: true });
  return describe(output, stamp);
}

/** Hash of this folder: program, recipe and files. */
async function hashOwnFiles(): Promise<string> {
  const entries = await Array.fromAsync(glob('**', { cwd: here, withFileTypes: true }));
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
  const hash = createHash('sha256');
  for (const path of paths.sort().filter((path) => !path.endsWith('.test.ts'))) {
    hash.update(`${relative(here, path)}\0`).update(await readFile(path));
  }
  return hash.digest('hex');
}

async function readFinished(output: string): Promise<OsImage | undefined> {
  const text = await readFile(join(output, 'stamp.json'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined; // never built
    throw error;
  });
  const stamp = Stamp.safeParse(text === undefined ? undefined : JSON.parse(text));
  return stamp.success ? describe(output, stamp.data) : undefined; // a stamp of another form: build again
}

function describe(output: string, stamp: z.infer<typeof Stamp>): OsImage {
  return {
    ...stamp,
    disk: join(output, 'disk.img'),
    mirror: join(output, 'mirror'),
    signingKey: join(output, 'signing-key.asc'),
  };
}

if (import.meta.main) {
  const { values } = parseArgs({ options: { output: { type: 'string' } } });
  const image = await buildOsImage(values.output === undefined ? {} : { output: values.output });
  const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;
  process.stdout.write(
    `nibs sandbox OS ${image.version}: raw ${megabytes(image.rawSizeBytes)}, compressed ${megabytes(image.compressedSizeBytes)}\n` +
      `disk image   ${image.disk}\nmirror       ${image.mirror}\nsigning key  ${image.signingKey}\n`,
  );
}
