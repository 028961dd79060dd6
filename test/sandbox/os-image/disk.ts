import { cp, mkdir, rename, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { embedBiosGrub, makeUefiGrub } from './boot-loader.ts';
import { diskGuid, firstPartitionMiB, imageSizeMiB, type Partition, partitions } from './recipe.ts';
import { fixedTime, resetTimes } from './reproducible.ts';
import type { System } from './system.ts';

const mebibyte = 1024 * 1024;

/**
 * Writes the raw disk image. Nothing is mounted: every file system is made from a directory.
 * @param ownFiles directory with `esp/` and `oem/`, what goes to these partitions beside kernel and
 *   boot loader.
 * @returns the path of the image, a sparse file.
 */
export async function makeDisk(
  system: System,
  initramfs: string,
  ownFiles: string,
  directory: string,
  signal: AbortSignal,
): Promise<string> {
  const image = join(directory, 'disk.img');
  await writeFile(image, '');
  await truncate(image, imageSizeMiB * mebibyte);
  await writePartitionTable(image, signal);
  await embedBiosGrub(image, placeOf('BIOS-BOOT'), directory, signal);

  const usr = join(directory, 'usr');
  await rename(join(system.root, 'usr'), usr);
  await mkdir(join(system.root, 'usr'));
  const esp = join(directory, 'esp');
  await fillEsp(esp, system, initramfs, ownFiles, signal);
  const contents = [
    { label: 'EFI-SYSTEM', make: makeFat, from: esp },
    { label: 'USR-A', make: makeBtrfs, from: usr },
    { label: 'OEM', make: makeBtrfs, from: join(ownFiles, 'oem') },
    { label: 'ROOT', make: makeExt4, from: system.root },
  ] as const;
  for (const { label, make, from } of contents) {
    const tree = join(directory, 'tree', label);
    await mkdir(join(directory, 'tree'), { recursive: true });
    await execa('cp', ['--archive', '--no-target-directory', from, tree], { cancelSignal: signal });
    await resetTimes(tree, signal);
    const place = placeOf(label);
    const file = join(directory, `${label}.img`);
    await writeFile(file, '');
    await truncate(file, place.sizeBytes);
    await make(file, label, place.guid, tree, signal);
    await copyInto(image, file, place.offsetBytes, signal);
  }
  return image;
}

async function writePartitionTable(image: string, signal: AbortSignal): Promise<void> {
  const entries = partitions.flatMap((partition: Partition) => [
    `--new=${partition.number}:${placeOf(partition.label).offsetBytes / 512}:+${partition.sizeMiB}M`,
    `--typecode=${partition.number}:${partition.typeGuid}`,
    `--partition-guid=${partition.number}:${partition.guid}`,
    `--change-name=${partition.number}:${partition.label}`,
    ...(partition.attributeBits ?? []).map((bit) => `--attributes=${partition.number}:set:${bit}`),
  ]);
  await execa('sgdisk', ['--clear', '--set-alignment=4096', `--disk-guid=${diskGuid}`, ...entries, image], {
    cancelSignal: signal,
  });
}

/** Where a partition lies: they follow each other without gaps. */
function placeOf(label: Partition['label']): { offsetBytes: number; sizeBytes: number; guid: string } {
  let offsetMiB = firstPartitionMiB;
  for (const partition of partitions) {
    if (partition.label === label) {
      return { offsetBytes: offsetMiB * mebibyte, sizeBytes: partition.sizeMiB * mebibyte, guid: partition.guid };
    }
    offsetMiB += partition.sizeMiB;
  }
  throw new Error(`the recipe has no partition ${label}`);
}

async function fillEsp(
  esp: string,
  system: System,
  initramfs: string,
  ownFiles: string,
  signal: AbortSignal,
): Promise<void> {
  await cp(join(ownFiles, 'esp'), esp, { recursive: true });
  await cp(system.kernel, join(esp, 'vmlinuz'));
  await cp(initramfs, join(esp, 'initramfs'));
  await mkdir(join(esp, 'EFI/BOOT'), { recursive: true });
  await makeUefiGrub(join(esp, 'EFI/BOOT/BOOTX64.EFI'), signal);
}

async function makeFat(file: string, label: string, guid: string, tree: string, signal: AbortSignal): Promise<void> {
  const volumeId = guid.slice(-8);
  await execa('mkfs.vfat', ['-F', '32', '-s', '1', '-n', label, '-i', volumeId, '--invariant', file], {
    cancelSignal: signal,
  });
  await execa('sh', ['-c', 'mcopy -s -Q -m -i "$1" "$2"/* ::/', 'sh', file, tree], { cancelSignal: signal });
}

async function makeBtrfs(file: string, label: string, guid: string, tree: string, signal: AbortSignal): Promise<void> {
  await execa(
    'mkfs.btrfs',
    ['--quiet', '--label', label, '--uuid', guid, '--metadata', 'single', '--rootdir', tree, file],
    {
      cancelSignal: signal,
      env: fixedTime,
    },
  );
}

async function makeExt4(file: string, label: string, guid: string, tree: string, signal: AbortSignal): Promise<void> {
  const options = [
    '-q',
    '-t',
    'ext4',
    '-L',
    label,
    '-U',
    guid,
    '-E',
    `hash_seed=${guid},lazy_itable_init=0`,
    '-d',
    tree,
  ];
  await execa('mke2fs', [...options, file], { cancelSignal: signal, env: fixedTime });
}

async function copyInto(image: string, file: string, offsetBytes: number, signal: AbortSignal): Promise<void> {
  await execa(
    'dd',
    [`if=${file}`, `of=${image}`, 'bs=1M', `seek=${offsetBytes / mebibyte}`, 'conv=notrunc,sparse', 'status=none'],
    { cancelSignal: signal },
  );
}
