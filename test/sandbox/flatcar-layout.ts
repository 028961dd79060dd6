import { mkdir, mkdtemp, open, readdir, rm, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { execa } from 'execa';

export interface FlatcarLayoutOptions {
  /** Where the image is written; replaced if it exists. */
  readonly path: string;
  /**
   * File system of the OEM partition. ext4 is what images had before August 2021. Default: btrfs.
   */
  readonly oemFilesystem?: 'btrfs' | 'ext4';
  /** Files on the OEM partition, by path relative to its root. Default: a grub.cfg. */
  readonly oemFiles?: Readonly<Record<string, string>>;
  /**
   * When the files of {@link oemFiles} and their directory were changed, in seconds since 1970.
   * Default: now.
   */
  readonly oemModifiedSeconds?: number;
  /** Files on the ROOT partition. Default: none. */
  readonly rootFiles?: Readonly<Record<string, string>>;
  /** Bytes of noise on USR-A, in place of an operating system. Default: 3 MiB. */
  readonly usrBytes?: number;
  /** Files on USR-A, in place of the noise. */
  readonly usrFiles?: Readonly<Record<string, string>>;
  /**
   * File system of USR-A if it has files. btrfs, compressed with zstd, is what images have
   * (`build_library/disk_layout.json` of flatcar/scripts), ext4 what old ones had. btrfs needs root
   * and 128 MiB. Default: ext4.
   */
  readonly usrFilesystem?: 'btrfs' | 'ext4';
  /** Sizes of partitions in MiB by label. Default: as small as their file systems allow. */
  readonly sizes?: PartitionSizes;
}

export type PartitionSizes = Readonly<Record<string, number>>;

interface LayoutPartition {
  readonly number: number;
  readonly label: string;
  readonly type: string;
  readonly uniqueGuid?: string;
  readonly sizeMebibytes: number;
}

const mebibyte = 1024 * 1024;
const sectorBytes = 512;

/**
 * Numbers, labels, types, GUIDs and order of Flatcar's disk_layout.json; sizes are as small as
 * their file systems allow.
 */
const smallest: readonly LayoutPartition[] = [
  { number: 1, label: 'EFI-SYSTEM', type: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b', sizeMebibytes: 36 },
  { number: 2, label: 'BIOS-BOOT', type: '21686148-6449-6e6f-744e-656564454649', sizeMebibytes: 2 },
  {
    number: 3,
    label: 'USR-A',
    type: '5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6',
    uniqueGuid: '7130c94a-213a-4e5a-8e26-6cce9662f132',
    sizeMebibytes: 16,
  },
  {
    number: 4,
    label: 'USR-B',
    type: '5dfbf5f4-2848-4bac-aa5e-0d9a20b745a6',
    uniqueGuid: 'e03dd35c-7c2d-4a47-b3fe-27f15780a57c',
    sizeMebibytes: 16,
  },
  { number: 6, label: 'OEM', type: '0fc63daf-8483-4772-8e79-3d69d8477de4', sizeMebibytes: 128 },
  { number: 7, label: 'OEM-CONFIG', type: 'c95dc21a-df0e-4340-8d7b-26cbfa9a03e0', sizeMebibytes: 2 },
  { number: 9, label: 'ROOT', type: '3884dd41-8582-4404-b9a8-e9b84f2df50e', sizeMebibytes: 24 },
];

/**
 * Sizes of Flatcar's images since October 2025; ROOT has the gaps between partitions too, which
 * makes 8,455,716,864 bytes in all.
 */
export const todaysSizes: PartitionSizes = {
  ...{ 'EFI-SYSTEM': 1024, 'USR-A': 2048, 'USR-B': 2048 },
  ...{ OEM: 1024, 'OEM-CONFIG': 64, ROOT: 1850 },
};
const firstMebibyte = 2;
const diskGuid = '00000000-0000-0000-0000-000000000001';

/**
 * Makes a small disk image with Flatcar's partition layout: real file systems, nothing that boots.
 * The rest of the image is zeroes. Needs sfdisk, mkfs.vfat, mkfs.btrfs and mke2fs; no root.
 * @returns the size of the image in bytes.
 */
export async function makeFlatcarImage(options: FlatcarLayoutOptions): Promise<number> {
  const work = await mkdtemp(join(tmpdir(), 'nibs-layout-'));
  try {
    const layout = layoutOf(options.sizes);
    const sizeBytes = await makeTable(options.path, layout);
    const contents: Record<string, string> = {
      'EFI-SYSTEM': await makeEfi(work, layout),
      'USR-A':
        options.usrFiles === undefined
          ? await makeNoise(work, options.usrBytes ?? 3 * mebibyte)
          : await makeUsr(work, layout, options.usrFiles, options.usrFilesystem),
      OEM: await makeOem(work, layout, options),
      ROOT: await makeExt4(work, layout, 'ROOT', options.rootFiles ?? {}),
    };
    for (const [label, file] of Object.entries(contents)) {
      const seek = `seek=${offsetBytes(layout, label) / mebibyte}`;
      await execa('dd', [`if=${file}`, `of=${options.path}`, 'bs=1M', seek, 'conv=notrunc,sparse', 'status=none']);
    }
    return sizeBytes;
  } finally {
    await rm(work, { recursive: true });
  }
}

/** Where a partition of an image of the smallest sizes starts. */
export function partitionOffsetBytes(label: string): number {
  return offsetBytes(smallest, label);
}

function layoutOf(sizes: PartitionSizes = {}): readonly LayoutPartition[] {
  return smallest.map((partition) => ({
    ...partition,
    sizeMebibytes: sizes[partition.label] ?? partition.sizeMebibytes,
  }));
}

function offsetBytes(layout: readonly LayoutPartition[], label: string): number {
  const index = layout.findIndex((partition) => partition.label === label);
  if (index < 0) throw new Error(`the layout has no partition ${label}`);
  const before = layout.slice(0, index).reduce((sum, partition) => sum + partition.sizeMebibytes, firstMebibyte);
  return before * mebibyte;
}

async function makeTable(path: string, layout: readonly LayoutPartition[]): Promise<number> {
  const used = layout.reduce((sum, partition) => sum + partition.sizeMebibytes, firstMebibyte);
  const sizeBytes = (used + 2) * mebibyte;
  await rm(path, { force: true });
  const image = await open(path, 'w');
  await image.truncate(sizeBytes);
  await image.close();
  const partitions = layout.map(({ number, label, type, uniqueGuid, sizeMebibytes }) => {
    const start = offsetBytes(layout, label) / sectorBytes;
    const place = `${number}: start=${start}, size=${(sizeMebibytes * mebibyte) / sectorBytes}, type=${type}, name=${label}`;
    // Attributes as cgpt sets them for the system to boot from: priority=1 and successful=1.
    const attributes = label === 'USR-A' ? ', attrs="GUID:48,56"' : '';
    return `${place}${uniqueGuid === undefined ? '' : `, uuid=${uniqueGuid}`}${attributes}`;
  });
  const input = ['label: gpt', `label-id: ${diskGuid}`, 'unit: sectors', ...partitions].join('\n');
  await execa('sfdisk', ['--quiet', path], { input });
  return sizeBytes;
}

async function makeEfi(work: string, layout: readonly LayoutPartition[]): Promise<string> {
  const path = await sized(work, layout, 'EFI-SYSTEM');
  await execa('mkfs.vfat', ['-F', '32', '-n', 'EFI-SYSTEM', path]);
  return path;
}

async function makeNoise(work: string, sizeBytes: number): Promise<string> {
  const path = join(work, 'USR-A');
  const bytes = Buffer.alloc(sizeBytes);
  // The same in every run, and hardly compressible.
  let state = 1;
  for (let offset = 0; offset + 4 <= sizeBytes; offset += 4) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    bytes.writeUInt32LE((state ^ (state >>> 15)) >>> 0, offset);
  }
  await writeFile(path, bytes);
  return path;
}

async function makeOem(
  work: string,
  layout: readonly LayoutPartition[],
  options: FlatcarLayoutOptions,
): Promise<string> {
  const files = options.oemFiles ?? { 'grub.cfg': 'set oem_id=""\n' };
  if (options.oemFilesystem === 'ext4') return await makeExt4(work, layout, 'OEM', files);
  const path = await sized(work, layout, 'OEM');
  const tree = await makeTree(work, 'OEM', files);
  const { oemModifiedSeconds: time } = options;
  if (time !== undefined)
    for (const name of [...(await readdir(tree, { recursive: true })), '.']) await utimes(join(tree, name), time, time);
  await execa('mkfs.btrfs', ['-q', '-L', 'OEM', '--rootdir', tree, path]);
  return path;
}

async function makeUsr(
  work: string,
  layout: readonly LayoutPartition[],
  files: Readonly<Record<string, string>>,
  filesystem: 'btrfs' | 'ext4' = 'ext4',
): Promise<string> {
  if (filesystem === 'ext4') return await makeExt4(work, layout, 'USR-A', files);
  const path = await sized(work, layout, 'USR-A');
  await execa('mkfs.btrfs', ['-q', path]);
  const mounted = join(work, 'USR-A.mounted');
  await mkdir(mounted);
  await execa('mount', ['-o', 'loop,compress-force=zstd', path, mounted]);
  try {
    await execa('cp', ['--recursive', `${await makeTree(work, 'USR-A', files)}/.`, mounted]);
  } finally {
    await execa('umount', [mounted]);
  }
  return path;
}

async function makeExt4(
  work: string,
  layout: readonly LayoutPartition[],
  label: string,
  files: Readonly<Record<string, string>>,
): Promise<string> {
  const path = await sized(work, layout, label);
  await execa('mke2fs', ['-q', '-t', 'ext4', '-L', label, '-d', await makeTree(work, label, files), path]);
  return path;
}

async function makeTree(work: string, label: string, files: Readonly<Record<string, string>>): Promise<string> {
  const tree = join(work, `${label}.tree`);
  await mkdir(tree);
  for (const [name, text] of Object.entries(files)) {
    await mkdir(dirname(join(tree, name)), { recursive: true });
    await writeFile(join(tree, name), text);
  }
  return tree;
}

/** A file as large as the partition. */
async function sized(work: string, layout: readonly LayoutPartition[], label: string): Promise<string> {
  const partition = layout.find((entry) => entry.label === label);
  const path = join(work, label);
  const file = await open(path, 'w');
  await file.truncate((partition?.sizeMebibytes ?? 0) * mebibyte);
  await file.close();
  return path;
}
