import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Clock } from '../../../clock/clock.ts';
import { systemClock } from '../../../clock/system.ts';
import { main as image2disk } from '../../../installer/image2disk/main.ts';
import { main as flatcarInstall } from '../../../installer/main.ts';
import { makeFlatcarImage, type PartitionSizes } from '../../sandbox/flatcar-layout.ts';
import { forgetPartitions } from '../../sandbox/loop-device.ts';
import { type Mirror, startMirror } from '../../sandbox/mirror.ts';
import { createGpg } from '../../sandbox/signing.ts';
import { randomOf } from '../chance.ts';
import { createDisks, type Disk, type Disks } from './disks.ts';
import { rangeOf } from './power.ts';

const mebibyte = 1024 * 1024;

/** An image as a mirror has it. */
export interface SmallRelease {
  readonly version: string;
  readonly raw: Buffer;
  readonly compressed: Buffer;
  readonly signature: Buffer;
}

/**
 * What is installed, and on which disk: each has another part of the installer's work.
 *
 * - plain: a release, on a disk that is larger than the image.
 * - exact: on a disk of the size of the image, where the backup of the table is withheld too.
 * - save: beside a partition that is kept.
 * - config: with an Ignition config, and read back.
 * - image2disk: the same image, written by that program.
 */
export const VARIANTS = ['plain', 'exact', 'save', 'config', 'image2disk'] as const;
export type Variant = (typeof VARIANTS)[number];

/** How a run has ended. */
export interface Ended {
  /** `undefined`: by a signal. */
  readonly exitCode: number | undefined;
  /** All that it printed. */
  readonly output: string;
}

/** A machine with three disks, an earlier system on each, and a mirror. */
export interface Machine extends AsyncDisposable {
  readonly disks: Disks;
  readonly mirror: Mirror;
  /** Temporary files of the runs that are processes. */
  readonly temporary: string;
  releaseFor(variant: Variant): SmallRelease;
  /** A later one of the same key, for `plain`. */
  readonly nextRelease: SmallRelease;
  /** Index of the disk of a variant. */
  targetOf(variant: Variant): number;
  diskOf(variant: Variant): Disk;
  /** Content of each disk before an installation. */
  readonly initial: readonly Uint8Array[];
  /** Gives all disks the content that they had before they got any operation since `begin`. */
  restore(): Promise<void>;
  /** As `restore`; publishes the release, too. */
  prepare(variant: Variant): Promise<void>;
  /** Command line and environment of the program. */
  commandFor(variant: Variant): Command;
  /**
   * Runs the program in this process. Pauses between attempts take a hundredth of their time.
   * @param environment besides that of the command
   */
  run(variant: Variant, environment?: Readonly<Record<string, string>>): Promise<Ended>;
}

export interface Command {
  readonly program: 'flatcar-install' | 'image2disk';
  readonly args: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
}

/** As small as programs that make file systems allow; the mounted OEM partition is a btrfs. */
const smallSizes: PartitionSizes = {
  ...{ 'EFI-SYSTEM': 2, 'BIOS-BOOT': 1, 'USR-A': 4, 'USR-B': 2, OEM: 2, 'OEM-CONFIG': 1, ROOT: 4 },
};
const usrBytes = 1.25 * mebibyte;
const savedBytes = 2 * mebibyte;

export const ignitionConfig = '{"ignition":{"version":"3.3.0"}}';

/** Pauses end soon; the time without data after which an attempt is given up is not reached. */
const hurriedClock: Clock = {
  ...systemClock,
  wait: (seconds, signal) => systemClock.wait(seconds <= 10 ? seconds / 100 : seconds, signal),
};

/** @param seed of the contents of the disks */
export async function createMachine(seed: number): Promise<Machine> {
  await using undo = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'nibs-torture-installer-'));
  undo.defer(() => rm(directory, { recursive: true }));
  const temporary = await mkdtemp(join(directory, 'tmp-'));
  const gpg = undo.use(await createGpg());
  const primary = await gpg.createPrimary('torture', { algorithm: 'rsa2048' });
  const subkey = await gpg.addSubkey(primary, { algorithm: 'rsa2048' });
  const keyPath = join(directory, 'key.asc');
  await writeFile(keyPath, await gpg.exportKeys(primary));
  const configPath = join(directory, 'config.ign');
  await writeFile(configPath, ignitionConfig);

  const makeRelease = async (version: string, options: object, sizes: PartitionSizes): Promise<SmallRelease> => {
    const path = join(directory, `${version}.bin`);
    await makeFlatcarImage({ path, sizes, ...options });
    // In blocks of 100 kB, so that the disk is written to while the image still arrives.
    await execa('lbzip2', ['-1', '--keep', '--force', path]);
    const compressed = await readFile(`${path}.bz2`);
    return { version, raw: await readFile(path), compressed, signature: await gpg.sign(compressed, [subkey]) };
  };
  const small = await makeRelease('1.2.3', { usrBytes, oemFilesystem: 'ext4' }, smallSizes);
  const next = await makeRelease('1.2.4', { usrBytes: usrBytes + 4096, oemFilesystem: 'ext4' }, smallSizes);
  const large = await makeRelease('2.0.0', { usrBytes }, { ...smallSizes, OEM: 128 });
  const releases = { plain: small, exact: small, save: small, config: large, image2disk: small };

  const mirror = undo.use(await startMirror());
  const disks = undo.use(
    await createDisks([small.raw.length, small.raw.length + 8 * mebibyte, large.raw.length + 4 * mebibyte]),
  );
  const targets = { plain: 1, exact: 0, save: 1, config: 2, image2disk: 1 };
  const diskOf = (variant: Variant): Disk => {
    const disk = disks.disks[targets[variant]];
    if (disk === undefined) throw new Error(`there is no disk for ${variant}`);
    return disk;
  };
  for (const disk of disks.disks) await makeEarlierSystem(disk, small.raw.length, randomOf(seed));
  const initial = disks.disks.map(({ content }) => content.slice());
  disks.begin(-1);

  const commandFor = (variant: Variant): Command => {
    const { path } = diskOf(variant);
    const image = `${mirror.url}${imagePath(releases[variant])}`;
    if (variant === 'image2disk') {
      return {
        program: 'image2disk',
        args: [],
        environment: { IMG_URL: image, DEST_DISK: path, IMG_SIG_URL: `${image}.sig`, IMG_SIG_KEY: keyPath },
      };
    }
    const common = ['-d', path, '-b', mirror.url, '-k', keyPath, '--tries', '3'];
    const own = {
      plain: [],
      exact: [],
      save: ['--save-partlabel', 'data'],
      config: ['-i', configPath, '--read-back'],
    }[variant];
    return { program: 'flatcar-install', args: [...common, ...own], environment: {} };
  };
  const restore = async () => {
    for (const { path } of disks.disks) await forgetPartitions(path);
    for (const [index, operation] of await disks.operations()) {
      const [start, end] = rangeOf(operation);
      disks.disks[index]?.content.set(initial[index]?.subarray(start, end) ?? [], start);
    }
  };
  const owned = undo.move();
  return {
    restore,
    ...{ disks, mirror, temporary, initial, diskOf, commandFor, nextRelease: next },
    releaseFor: (variant) => releases[variant],
    targetOf: (variant) => targets[variant],
    async prepare(variant) {
      await restore();
      mirror.clear();
      publish(mirror, releases[variant]);
    },
    async run(variant, more = {}) {
      const { program, args, ...command } = commandFor(variant);
      const environment = { ...command.environment, ...more };
      const printed: string[] = [];
      const screen = { write: (text: string) => printed.push(text) };
      const system = { stdout: screen, stderr: screen, root: join(directory, 'no-such-root'), clock: hurriedClock };
      const exitCode = await (program === 'image2disk' ? image2disk : flatcarInstall)(args, environment, system);
      return { exitCode, output: printed.join('') };
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Path of an image on the mirror. */
export function imagePath({ version }: SmallRelease): string {
  return `/${version}/flatcar_production_image.bin.bz2`;
}

/** Puts a release on the mirror, as the current one. */
export function publish(mirror: Mirror, release: SmallRelease): void {
  const { version, compressed, signature } = release;
  mirror.put('/current/version.txt', Buffer.from(`FLATCAR_VERSION=${version}\n`));
  mirror.put(imagePath(release), compressed);
  mirror.put(`${imagePath(release)}.sig`, signature);
}

/**
 * One that starts from the boot code of its MBR, with a partition `data` behind the image; noise
 * everywhere.
 */
async function makeEarlierSystem({ path, sizeBytes, content }: Disk, imageBytes: number, random: () => number) {
  const partitions = ['--new', '1:2048:+4M', '--change-name', '1:system'];
  if (sizeBytes > imageBytes) {
    const [first, length] = [(sizeBytes - 2 * savedBytes) / 512, savedBytes / 512];
    partitions.push('--new', `12:${first}:${first + length - 1}`, '--change-name', '12:data');
  }
  await execa('sgdisk', [...partitions, path]);
  await forgetPartitions(path);
  // What is not overwritten shows: also where the image has zeroes.
  const noise = Uint8Array.from({ length: mebibyte }, () => 1 + Math.floor(random() * 255));
  for (let offset = mebibyte; offset < sizeBytes - mebibyte; offset += mebibyte) content.set(noise, offset);
  for (let offset = 0; offset < 440; offset++) content[offset] = 1 + Math.floor(random() * 255);
}
