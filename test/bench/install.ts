/**
 * Installing an image over HTTP from loopback onto a loop device, until it is on the disk: ours,
 * with and without the zeroing by the device, against wget, lbzip2 or bzip2, dd and gpg, taking
 * turns. Every run starts with a new, sparse disk.
 *
 *     node test/bench/install.ts [--quick] [--rounds 3] [--disks /dev/shm]
 *
 * The image has the size and the layout of today's Flatcar and 500 MB that do not compress; with
 * --quick it is small. It is made once and kept in build/cache/bench. Each program of a pipeline is
 * measured by time(1) on its own; CPU times and peaks are sums over the pipeline. Bytes written are
 * the blocks that the new disk's file has afterwards. bzip2 runs once. With BENCH_JSON=path the
 * ratios are also written there as rows.
 */
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { execa as start } from 'execa';
import { bzip2 } from '../../installer/decompress/bzip2/bzip2.ts';
import { openDisk } from '../../installer/disk/device.ts';
import { createDownloadClient } from '../../installer/fetch/client.ts';
import { fetchImage } from '../../installer/fetch/fetch.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { imageFile, publish } from '../sandbox/signed-release.ts';
import { provideRelease } from './release.ts';
import { alone, writeRows } from './rows.ts';
import { compare, median, type Sample, takeTimes } from './samples.ts';

const root = resolve(import.meta.dirname, '../..');
const executable = join(root, 'build/flatcar-install');
const mebibyte = 1024 * 1024;

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    disks: { type: 'string', default: '/dev/shm' },
  },
});

// An interrupt ends what is running, so that what was set up for it is taken down as after a
// failure.
const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupt.abort());
const execa = start({ cancelSignal: interrupt.signal });

const folder = await provideRelease({ isQuick: values.quick, signal: interrupt.signal });
const work = await mkdtemp(join(tmpdir(), 'bench-install-'));
try {
  await using mirror = await startMirror();
  const compressed = await readFile(join(folder, 'image.bin.bz2'));
  publish(mirror, { compressed, signature: await readFile(join(folder, 'image.bin.bz2.sig')) });
  const url = `${mirror.url}${imageFile}`;
  const imageBytes = (await stat(join(folder, 'image.bin'))).size;
  await execa('gpg', ['--homedir', work, '--batch', '--quiet', '--import', join(folder, 'key.asc')]);
  const megabytes = (bytes: number) => (bytes / 1e6).toFixed(0);
  process.stdout.write(`image of ${megabytes(imageBytes)} MB, compressed ${megabytes(compressed.length)} MB; `);
  process.stdout.write(`load before: ${loadavg().map((load) => load.toFixed(1))}\n`);

  const key = join(folder, 'key.asc');
  const ours = (disk: LoopDevice) => [executable, '-d', disk.path, '-b', mirror.url, '-k', key];
  const ways: Record<string, (disk: LoopDevice) => Promise<void>> = {
    ours: (disk) => timed('flatcar-install', ours(disk)),
    'lbzip2 pipeline': (disk) => pipeline('lbzip2', url, disk),
    'ours, no offload': (disk) => timed('flatcar-install', [...ours(disk), '--no-zero-offload']),
    'bzip2 pipeline': (disk) => pipeline('bzip2', url, disk),
  };
  const samples: Record<string, Sample[]> = {};
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, install] of Object.entries(ways)) {
      if (name.startsWith('bzip2') && round > 0) continue;
      const sample = await measure(install, imageBytes, round === 0);
      samples[name] = [...(samples[name] ?? []), sample];
      const { wallSeconds, cpuSeconds, peakBytes } = sample;
      const used = `${wallSeconds.toFixed(1)} s, CPU ${cpuSeconds.toFixed(1)} s, ${(peakBytes / mebibyte).toFixed(0)} MiB`;
      process.stderr.write(`round ${round + 1}, load ${loadavg()[0]?.toFixed(1)}: ${name}: ${used}\n`);
    }
  }
  const medians = Object.fromEntries(Object.entries(samples).map(([name, all]) => [name, median(all)]));
  showTable(medians);
  const stages = await measureStages(url, imageBytes, medians['ours']?.writtenBytes ?? 0);
  showBound(stages);
  process.stdout.write(`load after: ${loadavg().map((load) => load.toFixed(1))}\n`);
  await writeRows([
    ...compare('install', medians, 'ours'),
    ...compare('install-no-offload', medians, 'ours, no offload'),
    alone('install-image', 'size', 'bytes', imageBytes),
    alone('install-image', 'compressed', 'bytes', compressed.length),
    ...Object.entries(stages).map(([stage, seconds]) => alone('install-stages', stage, 's', seconds)),
  ]);
} catch (error) {
  if (!interrupt.signal.aborted) throw error;
  process.stderr.write('interrupted\n');
  process.exitCode = 1;
} finally {
  await start('gpgconf', ['--homedir', work, '--kill', 'all'], { reject: false });
  await rm(work, { recursive: true });
}

/** One installation onto a new disk. */
async function measure(install: (disk: LoopDevice) => Promise<void>, imageBytes: number, check: boolean) {
  await using disk = await createLoopDevice({ sizeBytes: imageBytes + 64 * mebibyte, directory: values.disks });
  const start = performance.now();
  await install(disk);
  const wallSeconds = (performance.now() - start) / 1000;
  const writtenBytes = (await stat(disk.backingPath)).blocks * 512;
  const used = await takeTimes(work);
  if (check) await execa('cmp', ['-n', String(imageBytes), disk.path, join(folder, 'image.bin')]);
  return { wallSeconds, ...used, writtenBytes };
}

async function timed(name: string, command: readonly string[]): Promise<void> {
  await execa('time', ['-o', join(work, `${name}.time`), '-f', '%U %S %M', ...command]);
}

/** What people do without an installer, with the flush that it then needs. */
async function pipeline(decoder: string, url: string, disk: LoopDevice): Promise<void> {
  const signature = join(folder, 'image.bin.bz2.sig');
  const script = `
    timed() { local name=$1; shift; command time -o "$WORK/$name.time" -f '%U %S %M' "$@"; }
    mkfifo "$WORK/fifo"
    timed decode ${decoder} -cd < "$WORK/fifo" | timed dd dd bs=1M "of=$DISK" conv=nocreat,fdatasync status=none &
    writing=$!
    timed wget wget -q -O - "$URL" | timed tee tee "$WORK/fifo" | timed gpg gpg --homedir "$WORK" --batch --verify "$SIGNATURE" -
    wait $writing
    rm "$WORK/fifo"`;
  const env = { WORK: work, DISK: disk.path, URL: url, SIGNATURE: signature };
  await execa('bash', ['-euo', 'pipefail', '-c', script], { env });
}

function showTable(medians: Readonly<Record<string, Sample>>): void {
  const rival = medians['lbzip2 pipeline'];
  const rows = [['', 'wall s', 'CPU s', 'peak MiB', 'written MB', 'wall ratio', 'CPU ratio']];
  for (const [name, { wallSeconds, cpuSeconds, peakBytes, writtenBytes }] of Object.entries(medians)) {
    const ratios = [wallSeconds / (rival?.wallSeconds ?? 0), cpuSeconds / (rival?.cpuSeconds ?? 0)];
    const figures = [wallSeconds.toFixed(2), cpuSeconds.toFixed(2)];
    const sizes = [(peakBytes / mebibyte).toFixed(0), (writtenBytes / 1e6).toFixed(0)];
    rows.push([name, ...figures, ...sizes, ...ratios.map((ratio) => ratio.toFixed(2))]);
  }
  for (const row of rows)
    process.stdout.write(`${row.map((cell, i) => (i ? cell.padStart(11) : cell.padEnd(20))).join('')}\n`);
  process.stdout.write('ratios are to the lbzip2 pipeline\n');
}

/**
 * The time that each stage of ours takes when it has the machine to itself; the longest bounds the
 * whole.
 */
async function measureStages(url: string, imageBytes: number, contentBytes: number): Promise<Record<string, number>> {
  const path = join(folder, 'image.bin.bz2');
  const read = () => createReadStream(path, { highWaterMark: mebibyte });
  return {
    network: await secondsOf(async () => {
      using client = createDownloadClient();
      using image = await fetchImage(client, [new URL(url)], AbortSignal.timeout(600_000));
      for await (const _ of image.bytes);
    }),
    decode: await secondsOf(async () => {
      for await (const extent of bzip2(read(), { signal: interrupt.signal }))
        if (extent.kind === 'data') extent.release();
    }),
    hash: await secondsOf(async () => {
      const hash = createHash('sha512');
      for await (const chunk of read()) hash.update(chunk);
    }),
    disk: await secondsOfDisk(imageBytes, contentBytes),
  };
}

function showBound(stages: Readonly<Record<string, number>>): void {
  const [bound] = Object.entries(stages).sort(([, a], [, b]) => b - a)[0] ?? [];
  const times = Object.entries(stages).map(([name, seconds]) => `${name} ${seconds.toFixed(1)} s`);
  process.stdout.write(`bounded by: ${bound} (each stage alone: ${times.join(', ')})\n`);
}

/** Writing as many bytes as the image has, and having the rest zeroed. */
async function secondsOfDisk(imageBytes: number, contentBytes: number): Promise<number> {
  await using loop = await createLoopDevice({ sizeBytes: imageBytes, directory: values.disks });
  await using disk = await openDisk(loop.path);
  const bytes = new Uint8Array(new WebAssembly.Memory({ initial: mebibyte / 65536 }).buffer).fill(1);
  return await secondsOf(async () => {
    let offset = 0;
    for (; offset < contentBytes; offset += mebibyte) await disk.write(bytes, offset);
    await disk.zero(offset, imageBytes - offset);
    await disk.sync();
  });
}

async function secondsOf(action: () => Promise<void>): Promise<number> {
  const start = performance.now();
  await action();
  return (performance.now() - start) / 1000;
}
