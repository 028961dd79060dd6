/**
 * A virtual machine with disks on SATA, NVMe, USB, SD and SCSI, in use by mdadm, LVM, LUKS, bcache,
 * multipath, loop devices, swap and another mount namespace, with the kernel of the boot image.
 * Compares what `flatcar-install --list-disks`, `-s` and `-d` say of them, and what mdadm, LVM and
 * wipefs find after `--wipe-members`, and prints a table. The exit code is 1 if one differs.
 * Another machine, with UEFI, shows what `-u` makes of boot entries. Others lose their power while
 * they write an image, see power-cuts.ts.
 *
 *     node test/disks/run.ts [disks|boot-entries|power-cuts [PROGRAM…]]
 *
 * Needs root, `make build initramfs`, and the tools of test/system-packages-disks.txt, which run in
 * the machine. The console is in build/test-disks.
 */
import { mkdir, open, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseEfiEntries } from '../../installer/configure/efi.ts';
import { table } from '../e2e/table.ts';
import { type MachineDisk, startMachine } from '../sandbox/machine.ts';
import { makeInitramfs } from './initramfs.ts';
import { testPowerCuts } from './power-cuts.ts';

const build = resolve(import.meta.dirname, '../../build');
const directory = join(build, 'test-disks');

/** `device`: what `-d` says, if it is not asked for the list. `list`: the reason there. */
interface Row {
  readonly what: string;
  readonly bus: NonNullable<MachineDisk['bus']>;
  readonly sizeBytes: number;
  readonly list: RegExp;
  readonly device?: RegExp;
}

const rows: readonly Row[] = [
  { what: 'free, SATA', bus: 'sata', sizeBytes: 26000000512, list: /^usable, but not the smallest$/ },
  { what: 'free, NVMe', bus: 'nvme', sizeBytes: 30000000000, list: /^usable, but not the smallest$/ },
  { what: 'USB', bus: 'usb', sizeBytes: 11000000512, list: /attached by USB/ },
  { what: 'SD card', bus: 'sd', sizeBytes: 17179869184, list: /an SD card/ },
  { what: 'RAID, stopped', bus: 'scsi', sizeBytes: 12000000000, list: /partition \S+2 .* Linux RAID .*--wipe-members/ },
  { what: 'RAID, stopped', bus: 'scsi', sizeBytes: 12100000256, list: /partition \S+2 .* Linux RAID .*--wipe-members/ },
  { what: 'LVM, no volume', bus: 'scsi', sizeBytes: 13000000000, list: /partition \S+2 .* LVM .*--wipe-members/ },
  { what: 'LUKS, closed', bus: 'scsi', sizeBytes: 14000000000, list: /it has a signature of LUKS/ },
  use('bcache', 15000000000, 'scsi', /it is held by \/dev\/bcache0/),
  use('multipath', 16000000000, 'scsi', /it is held by \/dev\/mapper\/mpatha \(mpath\)/),
  { what: 'multipath', bus: 'scsi', sizeBytes: 16100000256, list: /held by \/dev\/mapper\/mpatha \(mpath\)/ },
  use('LVM, mounted', 17000000000, 'scsi', /held by \/dev\/mapper\/busy-data \(lvm\)/),
  use('loop device', 18000000000, 'scsi', /\S+2 is held by \/dev\/loop0 \(loop\)/),
  use('swap', 19000000000, 'scsi', /\S+2 is used as swap/),
  use('other namespace', 20000000000, 'virtio', /mounted at \/hidden in the mount namespace of process \d+/),
  use('LUKS, open', 21000000000, 'scsi', /held by \/dev\/mapper\/plain \(crypt\)/),
  use('RAID, active', 22000000000, 'scsi', /held by \/dev\/md101 \(raid1\)/),
  { what: 'RAID, active', bus: 'scsi', sizeBytes: 22100000256, list: /held by \/dev\/md101 \(raid1\)/ },
  {
    what: 'all of them, far',
    bus: 'scsi',
    sizeBytes: 24000000000,
    list: /partition \S+1 .* Linux RAID .*--wipe-members/,
  },
];

function use(what: string, sizeBytes: number, bus: NonNullable<MachineDisk['bus']>, reason: RegExp): Row {
  return { what, bus, sizeBytes, list: reason, device: reason };
}

/** What the other calls must say, by their names in guest.sh. */
const calls: Readonly<Record<string, RegExp>> = {
  smallest: /^Would install to \/dev\/mapper\/mpatha$/m,
  never: /^Would install to \/dev\/sd\w+$/m,
  wipe: /^Warning: \S+: its partition \S+ has a signature of Linux RAID .*\n(.*\n)*Would install to \/dev\/sd\w+$/m,
  usb: /^Would install to \/dev\/sd\w+$/m,
  large: /^Would install to \/dev\/nvme0n1$/m,
  named:
    /^Warning: \S+: its partition \S+ has a signature of Linux RAID \(linux_raid_member\), and is overwritten as far as the image reaches \(--wipe-members erases it\)$/m,
  before: lines(
    ...[1, 2, 3, 4, 5, 6].flatMap((number) => [
      `${number} wipefs: linux_raid_member`,
      `${number} blkid`,
      `${number} mdadm`,
    ]),
    ...['7 wipefs: LVM2_member', '7 blkid', '7 LVM', '8 wipefs: crypto_LUKS', '8 blkid', '8 LUKS'],
    ...['9 wipefs: bcache', '9 blkid'],
  ),
  erase: /^Warning: \S+: its partition \S+9 has a signature of bcache \(bcache\), and is erased\n(.*\n)*Success! .*$/m,
  after: lines(...[1, 2, 3, 4, 5, 6, 7, 8, 9].map((number) => `${number} wipefs:`)),
};

/** These and no others. */
function lines(...expected: readonly string[]): RegExp {
  return new RegExp(`^${expected.map((line) => `${line.replaceAll('.', '\\.')} *\n`).join('')}$`);
}

const started = performance.now();
process.exitCode = await main();
process.stdout.write(`${((performance.now() - started) / 1000).toFixed(0)} s\n`);

async function main(): Promise<number> {
  await rm(directory, { recursive: true, force: true });
  await mkdir(directory, { recursive: true });
  const initramfs = await makeInitramfs(directory);
  const wanted = process.argv.slice(2);
  const parts = {
    disks: testDisks,
    'boot-entries': testBootEntries,
    'power-cuts': (path: string) =>
      testPowerCuts(
        { initramfs: path, directory },
        wanted.filter((name) => !Object.hasOwn(parts, name)),
      ),
  };
  let exitCode = 0;
  for (const [name, run] of Object.entries(parts)) {
    if (wanted.length === 0 || wanted.includes(name)) exitCode = Math.max(exitCode, await run(initramfs));
  }
  return exitCode;
}

/** What `-u` makes of the boot entries of a machine with UEFI. */
async function testBootEntries(initramfs: string): Promise<number> {
  const disks = await Promise.all(
    [12000000000, 13000000000].map((sizeBytes, position) =>
      makeDisk({ what: 'boot entries', bus: 'scsi', sizeBytes, list: /./ }, 100 + position),
    ),
  );
  const results = await runMachine({ initramfs, disks, firmware: 'uefi', commandLine: 'test=boot-entries' });
  const others = labelsInOrder(results.get('before') ?? '').filter((label) => !/^(Flatcar|debian)/.test(label));
  const [lts, beta, stable, alpha] = ['lts', 'beta', 'stable', 'alpha'].map((one) => `Flatcar Container Linux ${one}`);
  const expected: Readonly<Record<string, readonly (string | undefined)[]>> = {
    before: [alpha, 'debian', lts],
    once: [alpha, 'debian', stable],
    // Of the two, the one that the firmware tried first has its place.
    twice: [beta, alpha, 'debian'],
  };
  const lines = Object.entries(expected).map(([name, labels]) => {
    const found = labelsInOrder(results.get(name) ?? '');
    const isGood = found.join('\n') === [...labels, ...others].join('\n');
    return [isGood ? 'good' : 'WRONG', `boot entries, ${name}`, found.join(', ')];
  });
  const said = results.get('install') ?? '';
  lines.push([/^Success!/m.test(said) ? 'good' : 'WRONG', 'flatcar-install -u', said.trim().split('\n').at(-1) ?? '']);
  process.stdout.write(table(['', 'asked', 'answer'], lines));
  return lines.some(([verdict]) => verdict === 'WRONG') ? 1 : 0;
}

/** Of all entries: those in the boot order, and then any that it lacks. */
function labelsInOrder(text: string): string[] {
  const { order, entries } = parseEfiEntries(text);
  const labelOf = (number: string) => entries.find((entry) => entry.number === number)?.label ?? `no ${number}`;
  const rest = entries.filter(({ number }) => !order.includes(number));
  return [...order.map(labelOf), ...rest.map(({ label }) => `${label} (not in the order)`)];
}

async function testDisks(initramfs: string): Promise<number> {
  const disks = await Promise.all(rows.map(makeDisk));
  return compare(await runMachine({ initramfs, disks, firmware: 'bios', commandLine: '' }));
}

/** @returns what the machine printed, by name */
async function runMachine({
  initramfs,
  disks,
  firmware,
  commandLine,
}: {
  readonly initramfs: string;
  readonly disks: readonly MachineDisk[];
  readonly firmware: 'bios' | 'uefi';
  readonly commandLine: string;
}): Promise<ReadonlyMap<string, string>> {
  const signal = AbortSignal.timeout(20 * 60 * 1000);
  const kernel = join(build, 'vmlinuz-x86_64');
  await using machine = await startMachine({
    ...{ name: `machine-${firmware}`, directory, memoryMiB: 3072, disks, endsOnReboot: true, firmware, signal },
    boot: { kind: 'kernel', kernel, initramfs, commandLine: `console=ttyS0 panic=-1 ${commandLine}` },
  });
  await machine.console.waitForLine(/^DONE$/, { signal });
  const results = new Map<string, string>();
  for (const { text } of machine.console.lines) {
    const [, name, encoded] = /^RESULT (\w+) (\S+)$/.exec(text) ?? [];
    if (name !== undefined && encoded !== undefined) results.set(name, Buffer.from(encoded, 'base64').toString());
  }
  for (const { path } of disks) await rm(path);
  return results;
}

function compare(results: ReadonlyMap<string, string>): number {
  const { disks }: { disks: { disk: { sizeBytes: number }; reason: string }[] } = JSON.parse(results.get('list') ?? '');
  const lines: string[][] = [];
  const add = (what: string, said: string, expected: RegExp) =>
    lines.push([
      expected.test(said) ? 'good' : 'WRONG',
      what,
      (expected.exec(said)?.[0] ?? said).trim().split('\n').at(-1) ?? '',
    ]);
  for (const { what, bus, sizeBytes, list, device } of rows) {
    const found = disks.find(({ disk }) => disk.sizeBytes === Math.floor(sizeBytes / 512) * 512);
    add(`--list-disks: ${what} (${bus})`, found?.reason ?? 'not listed', list);
    if (device !== undefined) add(`-d: ${what} (${bus})`, results.get(String(sizeBytes)) ?? '', device);
  }
  for (const [name, expected] of Object.entries(calls)) add(name, results.get(name) ?? '', expected);
  process.stdout.write(table(['', 'asked', 'answer'], lines));
  return lines.some(([verdict]) => verdict === 'WRONG') ? 1 : 0;
}

async function makeDisk({ bus, sizeBytes }: Row, position: number): Promise<MachineDisk> {
  const path = join(directory, `disk${position}`);
  await using file = await open(path, 'wx');
  await file.truncate(Math.floor(sizeBytes / 512) * 512);
  return { path, bus };
}
