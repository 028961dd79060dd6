/**
 * Machines that lose their power while each of the programs writes an image to their disk, which
 * had a system. Looks at three disks that a cut can leave: with all that was sent to the disk, with
 * only what the disk was asked to flush, and with some of what lies between. None of them has a
 * partition table, and the firmware starts none. A second run then writes the image; its writes
 * must be in an order in which no other cut could have left more.
 */
import { createHash } from 'node:crypto';
import { copyFile, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { table } from '../e2e/table.ts';
import { makeArtifact } from '../sandbox/artifact.ts';
import { bootCodePrinting, writeBootCode } from '../sandbox/boot-code.ts';
import { diskStatistics } from '../sandbox/disk-statistics.ts';
import { type Machine, startMachine } from '../sandbox/machine.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { pollUntil } from '../sandbox/poll-until.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';
import { startRegistry } from '../sandbox/registry.ts';
import { makeSignedRelease, publish, type SignedRelease } from '../sandbox/signed-release.ts';
import { type StallingProxy, startStallingProxy } from '../sandbox/stalling-proxy.ts';
import { type LoggedWrite, readWriteLog, replay } from '../sandbox/write-log.ts';
import { orderOf } from '../sandbox/write-order.ts';

interface Scene {
  readonly initramfs: string;
  readonly directory: string;
}

const mebibyte = 1024 * 1024;
const kernel = join(import.meta.dirname, '../../build/vmlinuz-x86_64');
/** About half of the data of the image: more than a decoder holds back. */
const limitBytes = 9 * mebibyte;
/** Two of them are the ends of the disk, which are cleared first. */
const leastWrittenBytes = 4 * mebibyte;
const systems = { old: 'the old system starts', new: 'the new system starts' };

interface Program {
  readonly name: string;
  readonly serverPort: number;
  /** Variables of the kernel's command line. */
  readonly variables: (port: number) => Readonly<Record<string, string>>;
}

/**
 * @param names of programs. Default: all
 * @returns an exit code
 */
export async function testPowerCuts(scene: Scene, names: readonly string[]): Promise<number> {
  await using release = await makeSignedRelease({ bootCode: bootCodePrinting(systems.new) });
  await using mirror = await startMirror();
  publish(mirror, release);
  mirror.put('/key.asc', await readFile(release.keyPath));
  const compressed = gzipSync(await readFile(release.imagePath));
  mirror.put('/image.raw.gz', compressed);
  const qcow2 = join(release.directory, 'image.qcow2');
  await execa('qemu-img', ['convert', '-O', 'qcow2', release.imagePath, qcow2]);
  mirror.put('/image.qcow2', await readFile(qcow2));
  await using registry = await startRegistry({ address: '127.0.0.1' });
  await registry.push('test/image:raw.gz', makeArtifact([{ title: 'image.raw.gz', bytes: compressed }]));

  const serverPort = Number(new URL(mirror.url).port);
  const { username, password } = registry;
  const programs: readonly Program[] = [
    { name: 'image2disk', serverPort, variables: (port) => ({ IMG_URL: `http://10.0.2.2:${port}/image.raw.gz` }) },
    { name: 'qemuimg2disk', serverPort, variables: (port) => ({ IMG_URL: `http://10.0.2.2:${port}/image.qcow2` }) },
    {
      name: 'oci2disk',
      serverPort: registry.port,
      variables: (port) => ({
        ...{ IMG_URL: `10.0.2.2:${port}/test/image:raw.gz`, SKIP_VERIFY: 'true' },
        ...{ REGISTRY_USERNAME: username, REGISTRY_PASSWORD: password },
      }),
    },
    { name: 'flatcar-install', serverPort, variables: (port) => ({ MIRROR: `http://10.0.2.2:${port}` }) },
  ];
  const used = await makeUsedDisk(scene, release);
  const first = judge('before', 'the firmware', await startFromDisk(scene, used), systems.old);
  let isGood = show([first]);
  for (const program of programs) {
    if (names.length > 0 && !names.includes(program.name)) continue;
    isGood = show(await cutAndRepeat(scene, program, used, release)) && isGood;
  }
  return isGood ? 0 : 1;
}

/** @returns whether all are good */
function show(rows: readonly string[][]): boolean {
  process.stdout.write(table(['', 'power cut', 'state', 'found'], rows));
  return rows.every(([verdict]) => verdict === 'good');
}

function judge(when: string, what: string, found: string, expected: string): string[] {
  return [found === expected ? 'good' : 'WRONG', when, what, found];
}

async function cutAndRepeat(scene: Scene, program: Program, used: string, release: SignedRelease) {
  const { name } = program;
  const rows: string[][] = [];
  const disk = join(scene.directory, `${name}.disk`);
  await copySparse(used, disk);
  const { entries, end } = await cut(scene, program, disk);
  rows.push(judge(name, 'cut while it writes', end, 'yes'));
  const left = {
    'all that was sent': disk,
    'only what was flushed': await rebuild(disk, used, entries, () => false),
    'some of the rest, too': await rebuild(disk, used, entries, (position) => position % 2 === 0),
  };
  for (const [what, path] of Object.entries(left)) {
    rows.push(judge(name, what, await tableOf(path), 'no table'));
  }
  rows.push(judge(name, 'the firmware', await startFromDisk(scene, disk), 'nothing to start'));
  const again = left['some of the rest, too'];
  rows.push(judge(name, 'second run', await runAgain(scene, program, again), 'exit code 0'));
  const same = await execa('cmp', ['-n', String(release.imageBytes), again, release.imagePath], { reject: false });
  rows.push(judge(name, 'the disk', same.exitCode === 0 ? 'is the image' : same.stdout, 'is the image'));
  const { size } = await sizeOf(again);
  rows.push(judge(name, 'order of its writes', orderOf(await readWriteLog(`${again}.log`), size), 'the table last'));
  rows.push(judge(name, 'the firmware', await startFromDisk(scene, again), systems.new));
  return rows;
}

async function sizeOf(path: string) {
  await using file = await open(path);
  return await file.stat();
}

/** Pulls the plug in the middle of the image. */
async function cut(scene: Scene, program: Program, disk: string) {
  await using proxy = await startStallingProxy(program.serverPort, limitBytes);
  await using machine = await startWriting(scene, program, proxy, disk);
  await whileProgressing(machine, {}, async (signal) => {
    await Promise.race([proxy.stalled, machine.console.waitForLine(/^EXIT/, { signal })]);
    const isWriting = async () => ((await diskStatistics(machine))[0]?.stats.wr_bytes ?? 0) >= leastWrittenBytes;
    await pollUntil(async () => signal.aborted || hasEnded(machine) || (await isWriting()), 'writes', 3600);
  });
  const end = machine.console.lines.find(({ text }) => text.startsWith('EXIT'))?.text ?? 'yes';
  await machine[Symbol.asyncDispose]();
  return { entries: await readWriteLog(`${disk}.log`), end };
}

function hasEnded(machine: Machine): boolean {
  return machine.console.lines.some(({ text }) => text.startsWith('EXIT'));
}

async function runAgain(scene: Scene, program: Program, disk: string): Promise<string> {
  await using proxy = await startStallingProxy(program.serverPort);
  await using machine = await startWriting(scene, program, proxy, disk);
  const { text } = await whileProgressing(machine, {}, (signal) =>
    machine.console.waitForLine(/^EXIT \d+$/, { signal }),
  );
  await machine.exited;
  return text.replace('EXIT', 'exit code');
}

async function startWriting(scene: Scene, { name, variables }: Program, proxy: StallingProxy, disk: string) {
  const all = { NAME: name, DEST_DISK: '/dev/vda', COMPRESSED: 'true', ...variables(proxy.port) };
  const words = Object.entries(all).map(([key, value]) => `${key}=${value}`);
  const commandLine = `console=ttyS0 quiet panic=-1 test=power-cuts ${words.join(' ')}`;
  return await startMachine({
    ...{ name: `power-${name}`, directory: scene.directory, memoryMiB: 2048, endsOnReboot: true },
    disks: [{ path: disk, writeLog: `${disk}.log` }],
    cards: [{ mac: '08:00:27:00:00:01', optionRom: false, network: { kind: 'user', reachesHost: true } }],
    boot: { kind: 'kernel', kernel, initramfs: scene.initramfs, commandLine },
  });
}

/** A disk with an earlier system, with room behind the image. */
async function makeUsedDisk({ directory }: Scene, { imageBytes }: SignedRelease): Promise<string> {
  const path = join(directory, 'used.disk');
  await using file = await open(path, 'wx');
  await file.truncate(imageBytes + 32 * mebibyte);
  await execa('sfdisk', ['--quiet', path], { input: 'label: gpt\nstart=2048, size=65536\nstart=67584\n' });
  await writeBootCode(path, bootCodePrinting(systems.old));
  return path;
}

async function copySparse(from: string, to: string): Promise<void> {
  await execa('cp', ['--sparse=always', from, to]);
}

/**
 * The disk as the cut leaves it if only some of what was sent after the last flush is on it.
 * @param isKept of an entry after the last flush
 */
async function rebuild(
  disk: string,
  used: string,
  entries: readonly LoggedWrite[],
  isKept: (position: number) => boolean,
): Promise<string> {
  const lastFlush = entries.findLastIndex(({ kind }) => kind === 'flush');
  const kept = entries.filter((_, position) => position < lastFlush || isKept(position));
  const path = `${disk}.${createHash('sha256').update(String(kept.length)).digest('hex').slice(0, 8)}`;
  await copyFile(used, path);
  await using file = await open(path, 'r+');
  await replay(kept, file);
  return path;
}

/** What partition tables the tools find, and whether anything is left at the ends of the disk. */
async function tableOf(path: string): Promise<string> {
  const { stdout: found } = await execa('wipefs', ['--noheadings', '--output', 'TYPE,OFFSET', path]);
  if (found !== '') return found;
  if (!(await execa('sfdisk', ['--dump', path], { reject: false })).failed) return 'sfdisk finds a table';
  await using file = await open(path);
  const { size } = await file.stat();
  for (const start of [0, size - mebibyte]) {
    const { buffer } = await file.read(Buffer.alloc(mebibyte), 0, mebibyte, start);
    const at = buffer.findIndex((byte) => byte !== 0);
    if (at >= 0) return `data at byte ${start + at}`;
  }
  return 'no table';
}

/** What a machine with a BIOS starts from the disk. */
async function startFromDisk({ directory }: Scene, path: string): Promise<string> {
  await using machine = await startMachine({
    ...{ name: 'firmware', directory, memoryMiB: 128, disks: [{ path }] },
    boot: { kind: 'firmware', order: ['disks'] },
  });
  const line = new RegExp(`^(${systems.old}|${systems.new}|No bootable device)`);
  const { text } = await whileProgressing(machine, {}, (signal) => machine.console.waitForLine(line, { signal }));
  return text.startsWith('No bootable device') ? 'nothing to start' : text;
}
