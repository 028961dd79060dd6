/**
 * Builds the boot image from Debian packages, which are fetched with apt and not installed, and
 * from our executable.
 *
 * `node initramfs/build.ts [--arch x86_64|aarch64] [--output build]
 * [--executable build/nibs-linux-x64] [--compression mixed|xz|zstd] [--compression-level 19]
 * [--kernel stable|backports] [--firmware none|servers|all] [--engine podman|docker]
 * [--files directory …] [--certificate file …] [--image [name:tag=]file …] [--package name …]
 * [--module name …] [--authorized-keys file] [--ssh dropbear]` writes
 * vmlinuz-x86_64, initramfs-x86_64, initramfs-x86_64.manifest.json (versions, checksums and sizes
 * of its contents), initramfs-x86_64.spdx.json (the bill of materials) and SHA256SUMS; for aarch64
 * files with that name. It builds for either architecture on either.
 *
 * The initramfs is a sequence of cpio archives, which the kernel unpacks one after the other: one
 * for each squashfs layer, one with /init, which mounts them, and one with what a site adds, if
 * anything. An unchanged layer is taken from build/cache.
 */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import { type Architecture, architectureOf, hostArchitecture } from '../debian/architecture.ts';
import type { Package } from '../debian/package.ts';
import { billOf, sbom } from '../sbom/sbom.ts';
import { type Additions, manifestOf, packAdditions, readAdditions } from './additions/additions.ts';
import { additionArguments, additionOptions } from './additions/options.ts';
import { writeChecksums, writeWhole } from './checksums.ts';
import { compressedCpio } from './compressed-cpio.ts';
import { cpio } from './cpio.ts';
import { exitOnMistake } from './exit-on-mistake.ts';
import { forgetOldLayers, packedLayer } from './layer-cache.ts';
import { earlyTree, engineTree, executableTree, type Sources, systemTrees } from './layers.ts';
import { engines, firmwareChoices, kernels } from './package-sets.ts';
import { compressions, squashfsOptions, writeSquashfs, xzOptions } from './squashfs.ts';
import { type DebianSystem, defaultEngine, fetchSystem } from './system.ts';
import { Tree } from './tree.ts';

const root = resolve(import.meta.dirname, '..');

const cache = join(root, 'build/cache');

await exitOnMistake(main);

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      arch: { type: 'string', default: hostArchitecture.name },
      output: { type: 'string', default: join(root, 'build') },
      executable: { type: 'string' },
      compression: { type: 'string' },
      'compression-level': { type: 'string' },
      kernel: { type: 'string', default: 'stable' },
      firmware: { type: 'string', default: 'servers' },
      engine: { type: 'string', default: defaultEngine },
      ...additionArguments,
    },
  });
  const architecture = architectureOf(values.arch);
  const executable = existing(resolve(values.executable ?? join(root, `build/nibs-linux-${architecture.node}`)));
  const kernel = z.enum(kernels).parse(values.kernel);
  const firmware = z.enum(firmwareChoices).parse(values.firmware);
  const engine = z.enum(engines).parse(values.engine);
  const packing = packingOf(architecture, values.compression, values['compression-level']);
  const additionsWanted = additionOptions(values);
  const output = resolve(values.output);
  await mkdir(output, { recursive: true });
  await mkdir(cache, { recursive: true });
  const scratch = await mkdtemp(join(cache, 'initramfs-')); // beside the packages: modules are hard links to theirs
  try {
    const fetching = once(() => fetchSystem(cache, { architecture, kernel, firmware, engine }));
    const ofSite = { architecture, system: fetching, cache, scratch: join(scratch, 'site') };
    const additions = additionsWanted && (await readAdditions(additionsWanted, ofSite));
    const system = await fetching();
    const sources = { ...system, executable, scratch };
    const { drivers, system: start } = await systemTrees(sources);
    const segments = [
      await layer('1-drivers', drivers, sources, packing.later),
      await layer('2-system', start, sources, packing.start),
      await layer('3-engine', await engineTree(sources), sources, packing.later),
      await layer('4-nibs', await executableTree(sources), sources, packing.start),
      await early(await earlyTree(sources), sources.timeSeconds),
      ...(additions === undefined ? [] : [await added(additions.tree, sources.timeSeconds)]),
    ];
    await writeImage(output, sources, segments, additions);
    await forgetOldLayers();
  } finally {
    await rm(scratch, { recursive: true });
  }
}

/** How layers are packed, as options of mksquashfs. */
interface Packing {
  /** What every machine reads until the agent has asked the server for the first time. */
  readonly start: readonly string[];
  /** What it reads later, or in small part. */
  readonly later: readonly string[];
}

/**
 * Without options zstd, which is unpacked ten times as fast, for the start, and xz, which is a
 * tenth smaller, for the rest. A level alone is one of zstd for all.
 */
function packingOf(architecture: Architecture, compression: string | undefined, level: string | undefined): Packing {
  const levelOfZstd = z.coerce.number().int().min(1).max(22);
  const zstd = squashfsOptions(levelOfZstd.parse(level ?? '19'));
  const xz = xzOptions(architecture);
  switch (z.enum(compressions).parse(compression ?? (level === undefined ? 'mixed' : 'zstd'))) {
    case 'mixed':
      return { start: zstd, later: xz };
    case 'xz':
      return { start: xz, later: xz };
    case 'zstd':
      return { start: zstd, later: zstd };
  }
}

/** One cpio archive of the initramfs. */
interface Segment {
  readonly name: string;
  readonly bytes: Uint8Array;
  /** Bytes of the files in it before packing. */
  readonly contentBytes: number;
}

/**
 * A layer as a squashfs image in its own archive, which is not compressed, because squashfs blocks
 * are.
 */
async function layer(
  name: string,
  tree: Tree,
  { timeSeconds, tools }: Sources,
  packing: readonly string[],
): Promise<Segment> {
  const key = createHash('sha256')
    .update(JSON.stringify([tree.hash, packing, timeSeconds, tools.key]))
    .digest('hex');
  const squashed = await packedLayer(name, key, (path) => writeSquashfs(tree, path, timeSeconds, packing, tools));
  const archive = new Tree();
  archive.file(`layers/${name}.squashfs`, await readFile(squashed));
  return { name, bytes: cpio(archive, timeSeconds), contentBytes: tree.sizeBytes };
}

async function early(tree: Tree, timeSeconds: number): Promise<Segment> {
  return { name: 'early', bytes: await compressedCpio(tree, timeSeconds, 19), contentBytes: tree.sizeBytes };
}

async function added(tree: Tree, timeSeconds: number): Promise<Segment> {
  return { name: 'site', bytes: await packAdditions(tree, timeSeconds), contentBytes: tree.sizeBytes };
}

async function writeImage(
  output: string,
  sources: Sources & DebianSystem,
  segments: readonly Segment[],
  additions: Additions | undefined,
): Promise<void> {
  const initramfs = Buffer.concat(segments.map((segment) => segment.bytes));
  const kernel = await readFile(sources.kernelImage);
  const manifest = {
    kernel: { version: sources.kernelVersion, sizeBytes: kernel.length, sha256: sha256(kernel) },
    initramfs: { sizeBytes: initramfs.length, sha256: sha256(initramfs) },
    segments: segments.map(({ name, bytes, contentBytes }) => ({ name, sizeBytes: bytes.length, contentBytes })),
    timeSeconds: sources.timeSeconds,
    executable: sha256(await readFile(sources.executable)),
    packages: sources.list,
    replacedPackages: sources.replaced,
    engine: sources.engine,
    firmware: { files: [...sources.firmware.files.keys()], missing: sources.firmware.missing },
    ...(additions === undefined ? {} : { site: manifestOf(additions) }),
  };
  const { name: arch } = sources.architecture;
  const delivered = new Map<string, Uint8Array>([
    [`vmlinuz-${arch}`, kernel],
    [`initramfs-${arch}`, initramfs],
  ]);
  const described = [...delivered, ...(additions === undefined ? [] : contentsOf(additions.tree))];
  const files = described.map(([name, content]) => ({ name, sha256: sha256(content), sha1: sha1(content) }));
  const { list: packages, timeSeconds } = sources;
  delivered.set(`initramfs-${arch}.manifest.json`, Buffer.from(`${JSON.stringify(manifest, undefined, 2)}\n`));
  const bill = sbom({
    name: 'nibs-boot-image',
    files,
    packages: withAdded(packages, additions?.packages ?? []),
    included: [await billOf(sources.executable)],
    containerImages: additions?.images ?? [],
    licences: sources.firmware.licences,
    timeSeconds,
  });
  delivered.set(`initramfs-${arch}.spdx.json`, Buffer.from(bill));
  for (const [name, content] of delivered) await writeWhole(join(output, name), content);
  await writeChecksums(output, [...delivered.keys()]);
  for (const { name, sizeBytes, contentBytes } of manifest.segments) {
    process.stdout.write(`${name.padEnd(10)} ${mebibytes(sizeBytes)} MiB, unpacked ${mebibytes(contentBytes)} MiB\n`);
  }
  process.stdout.write(
    `vmlinuz-${arch} ${mebibytes(kernel.length)} MiB, initramfs-${arch} ${mebibytes(initramfs.length)} MiB\n`,
  );
}

function once<Value>(make: () => Promise<Value>): () => Promise<Value> {
  let made: Promise<Value> | undefined;
  return () => (made ??= make());
}

/** A package that is in the image in part may be added as a whole. */
function withAdded(packages: readonly Package[], added: readonly Package[]): Package[] {
  const key = ({ name, version }: Package) => `${name} ${version}`;
  return [...new Map([...packages, ...added].map((one) => [key(one), one])).values()];
}

/** The files of a tree. */
function contentsOf(tree: Tree): [path: string, content: Uint8Array][] {
  return tree.entries.flatMap(([path, entry]) => (entry.kind === 'file' ? [[path, entry.content]] : []));
}

function existing(executable: string): string {
  if (existsSync(executable)) return executable;
  throw new Error(`the executable ${executable} does not exist (make build, or make build ARCH=…, makes it)`);
}

function sha256(content: Uint8Array): string {
  return createHash('sha256').update(content).digest('hex');
}

function sha1(content: Uint8Array): string {
  return createHash('sha1').update(content).digest('hex');
}

function mebibytes(bytes: number): string {
  return (bytes / 2 ** 20).toFixed(1);
}
