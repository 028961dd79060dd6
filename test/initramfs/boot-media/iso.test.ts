import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdir, mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { z } from 'zod';
import type { BootImage } from '../../../initramfs/boot-media/boot-image.ts';
import { type BootLoaders, fetchBootLoaders } from '../../../initramfs/boot-media/boot-loaders.ts';
import { writeIso } from '../../../initramfs/boot-media/iso.ts';
import { fetchMediaTools, type MediaTools } from '../../../initramfs/boot-media/media-tools.ts';
import { smeePlace } from '../../../initramfs/boot-media/smee-place.ts';
import { runTool } from '../../../tools/run-tool.ts';
import { serveAsSmee } from '../../sandbox/smee-iso.ts';
import { build, makeSmallImage } from './small-image.ts';

const cdSectorBytes = 2048;

let scratch: Awaited<ReturnType<typeof mkdtempDisposable>>;
let image: BootImage;
let loaders: BootLoaders;
let tools: MediaTools;
let iso: string;

before(async () => {
  scratch = await mkdtempDisposable(join(build, 'iso-test-')); // kernel and initramfs are linked
  image = await makeSmallImage(scratch.path);
  loaders = await fetchBootLoaders(join(build, 'cache'), 'amd64');
  tools = await fetchMediaTools(join(build, 'cache'));
  iso = await make('first');
});
after(() => scratch[Symbol.asyncDispose]());

async function make(name: string): Promise<string> {
  const directory = join(scratch.path, name);
  await mkdir(directory);
  const path = join(directory, 'nibs.iso');
  const builtIn = { site: 'nibs_registries="a:5000=b:c d=e:f"', otherwise: 'console=ttyS0' };
  await writeIso(path, image, builtIn, loaders, directory, tools);
  return path;
}

/** The content of a file in the ISO file system, as another program reads it. */
async function extract(from: string, path: string): Promise<Buffer> {
  const to = join(scratch.path, 'extracted');
  await tools.run('xorriso', ['-no_rc', '-osirrox', 'on', '-overwrite', 'on', '-indev', from, '-extract', path, to]);
  return await readFile(to);
}

test('writeIso() gives the same bytes at another time in another time zone', async () => {
  process.env['TZ'] = 'Pacific/Auckland';
  try {
    ok((await readFile(await make('second'))).equals(await readFile(iso)));
  } finally {
    delete process.env['TZ'];
  }
});

test('writeIso() puts kernel, initramfs and configuration into the ISO file system', async () => {
  ok((await extract(iso, '/boot/vmlinuz-x86_64')).equals(await readFile(image.kernel)));
  equal(String(await extract(iso, '/boot/initramfs-x86_64')), 'the initramfs\n');
  for (const name of ['grub.cfg', 'start.cfg']) {
    await extract(iso, `/boot/grub/${name}`);
    await runTool('grub-script-check', [join(scratch.path, 'extracted')]);
  }
  const start = String(await extract(iso, '/boot/grub/start.cfg'));
  match(start, /linux \/boot\/vmlinuz-x86_64 'nibs_registries=a:5000=b:c d=e:f' 'console=ttyS0' "\$@"\n/);
});

test('writeIso() gives BIOS and UEFI a program to start from a CD drive, and a disk a partition table', async () => {
  const report = await tools.run('xorriso', [
    ...['-no_rc', '-indev', iso],
    ...['-report_el_torito', 'plain', '-report_system_area', 'plain'],
  ]);
  match(report.stdout, /El Torito boot img : +1 +BIOS +y +none/);
  match(report.stdout, /El Torito boot img : +2 +UEFI +y +none/);
  match(report.stdout, /System area summary: .*grub2-mbr.*GPT/);
});

test('the EFI system partition has the signed shim and the signed GRUB of Debian, and finds only this medium', async () => {
  const partition = await efiPartition(iso);
  const read = async (path: string) => {
    const to = join(scratch.path, 'efi-file');
    await runTool('mcopy', ['-n', '-o', '-i', partition, `::/${path}`, to]);
    return await readFile(to);
  };
  ok((await read('EFI/BOOT/BOOTX64.EFI')).equals(await readFile(loaders.shim)));
  ok((await read('EFI/BOOT/grubx64.efi')).equals(await readFile(loaders.diskGrub)));
  const config = String(await read('boot/grub/grub.cfg'));
  const marker = '/nibs-0123456789abcdef-fedcba9876543210';
  ok(config.includes(`--file ${marker}\n`), config);
  equal(String(await extract(iso, marker)), '');
});

test('smee puts the arguments of a machine into the configuration of GRUB, also when a BMC reads by sectors', async () => {
  const original = await readFile(iso);
  const place = original.indexOf(smeePlace);
  equal(original.indexOf(smeePlace, place + 1), -1, 'smee replaces only one');
  const sector = (offset: number) => Math.floor(offset / cdSectorBytes);
  equal(sector(place), sector(place + smeePlace.length - 1), 'it is within one sector');
  for (const partBytes of [cdSectorBytes, 32 * 1024]) {
    const served = join(scratch.path, 'served.iso');
    await writeFile(served, serveAsSmee(original, 'console=ttyS1 worker_id=08:00:27:00:00:01', partBytes));
    const config = String(await extract(served, '/boot/grub/grub.cfg'));
    match(config, /^ {2}start console=ttyS1 worker_id=08:00:27:00:00:01 {900,}\n\}\n$/m);
    equal(config.includes(smeePlace.slice(0, 32)), false);
  }
});

const PartitionTable = z.object({
  partitiontable: z.object({
    label: z.literal('gpt'),
    partitions: z.array(z.object({ start: z.int(), size: z.int(), type: z.string() })),
  }),
});

/** The EFI system partition as a file, found as firmware finds it on a USB stick. */
async function efiPartition(path: string): Promise<string> {
  const { stdout } = await runTool('sfdisk', ['--json', path]);
  const { partitions } = PartitionTable.parse(JSON.parse(stdout)).partitiontable;
  const found = partitions.filter(({ type }) => type === 'C12A7328-F81F-11D2-BA4B-00A0C93EC93B');
  deepEqual(found.length, 1);
  const [{ start, size } = { start: 0, size: 0 }] = found;
  const to = join(scratch.path, 'efi.img');
  await writeFile(to, (await readFile(path)).subarray(start * 512, (start + size) * 512));
  return to;
}
