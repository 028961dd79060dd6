/**
 * Writing an image over HTTP from loopback onto a loop device, until it is on the disk: our
 * image2disk and Tinkerbell's alternate, for each format. Every run starts with a new, sparse disk.
 *
 *     node test/bench/image.ts [--quick] [--rounds 3] [--disks /dev/shm] [--formats gz,zst,xz,bz2]
 *
 * The image is that of test/bench/install.ts. The original is built from its source with the `go`
 * command, into build/cache; IMAGE2DISK=path names it where it is built elsewhere. Without both it
 * is left out. With BENCH_JSON=path the ratios are also written there as rows.
 */
import { access, mkdir, mkdtemp, readFile, rename, rm, stat } from 'node:fs/promises';
import { loadavg, tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { ExecaError, execa as start } from 'execa';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { startMirror } from '../sandbox/mirror.ts';
import { provideRelease } from './release.ts';
import { alone, type Row, writeRows } from './rows.ts';
import { compare, median, type Sample, takeTimes } from './samples.ts';

const root = resolve(import.meta.dirname, '../..');
const mebibyte = 1024 * 1024;
/** github.com/tinkerbell/actions, of 2026-07-29. */
const original = 'github.com/tinkerbell/actions/image2disk@ae3e51dfb3c1dd54c143e6d2fe48c248ae86e78d';

const compressors = {
  gz: ['gzip', '-6'],
  zst: ['zstd', '-q', '-3', '-T2'],
  xz: ['xz', '-3', '-T2'],
  bz2: ['lbzip2', '-9'],
} as const;
type Format = keyof typeof compressors;
const isFormat = (name: string): name is Format => Object.hasOwn(compressors, name);

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    rounds: { type: 'string', default: '3' },
    disks: { type: 'string', default: '/dev/shm' },
    formats: { type: 'string', default: Object.keys(compressors).join(',') },
  },
});

// An interrupt ends what is running, so that what was set up for it is taken down.
const interrupt = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => interrupt.abort());
const execa = start({ cancelSignal: interrupt.signal });

const folder = await provideRelease({ isQuick: values.quick, signal: interrupt.signal });
const imagePath = join(folder, 'image.bin');
const imageBytes = (await stat(imagePath)).size;
const rival = await findOriginal();
const work = await mkdtemp(join(tmpdir(), 'bench-image-'));
try {
  await using mirror = await startMirror();
  const ways: Readonly<Record<string, readonly string[]>> = {
    ours: [join(root, 'build/image2disk')],
    ...(rival !== undefined && { image2disk: [rival] }),
  };
  const rows: Row[] = [];
  show(['', 'wall s', 'CPU s', 'peak MiB', 'written MB', 'wall ratio', 'CPU ratio']);
  for (const format of values.formats.split(',').filter(isFormat)) {
    const name = `/image.bin.${format}`;
    mirror.put(name, await readFile(await compressed(format)));
    const samples: Record<string, Sample[]> = {};
    for (let round = 0; round < Number(values.rounds); round++) {
      for (const [way, command] of Object.entries(ways)) {
        const sample = await measure(command, `${mirror.url}${name}`, round === 0);
        samples[way] = [...(samples[way] ?? []), sample];
        process.stderr.write(
          `${format}, round ${round + 1}, load ${loadavg()[0]?.toFixed(1)}: ${way}: ${sample.wallSeconds.toFixed(1)} s\n`,
        );
      }
    }
    const medians = Object.fromEntries(Object.entries(samples).map(([way, all]) => [way, median(all)]));
    for (const [way, sample] of Object.entries(medians)) showSample(`${format} ${way}`, sample, medians['image2disk']);
    rows.push(...compare(format, medians, 'ours'));
    if (rival === undefined) rows.push(alone(format, 'wall', 's', medians['ours']?.wallSeconds ?? 0));
  }
  await writeRows(rows);
} catch (error) {
  if (!interrupt.signal.aborted) throw error;
  process.stderr.write('interrupted\n');
  process.exitCode = 1;
} finally {
  await rm(work, { recursive: true });
}

async function exists(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}

/** @returns undefined if it cannot be had */
async function findOriginal(): Promise<string | undefined> {
  const given = process.env['IMAGE2DISK'];
  if (given !== undefined) return given;
  const directory = join(root, 'build/cache/image2disk');
  const built = join(directory, 'image2disk');
  if (await exists(built)) return built;
  if ((await start('go', ['version'], { reject: false })).failed) {
    process.stdout.write('the original image2disk is left out: there is no go command, and IMAGE2DISK is not set\n');
    return undefined;
  }
  try {
    await execa('go', ['install', original], { env: { GOBIN: directory, CGO_ENABLED: '0' } });
    return built;
  } catch (error) {
    interrupt.signal.throwIfAborted();
    const why = error instanceof ExecaError ? error.stderr : String(error);
    process.stdout.write(`the original image2disk is left out: go cannot build it: ${why}\n`);
    return undefined;
  }
}

async function compressed(format: Format): Promise<string> {
  const path = `${imagePath}.${format}`;
  if (await exists(path)) return path;
  const unfinished = `${path}.unfinished`;
  const [program, ...args] = compressors[format];
  await mkdir(folder, { recursive: true });
  await execa('bash', ['-c', '"$@" -c < "$IMAGE" > "$TARGET"', 'bash', program, ...args], {
    env: { IMAGE: imagePath, TARGET: unfinished },
  });
  await rename(unfinished, path);
  return path;
}

/** One image onto a new disk. */
async function measure(command: readonly string[], url: string, check: boolean): Promise<Sample> {
  await using disk = await createLoopDevice({ sizeBytes: imageBytes + 64 * mebibyte, directory: values.disks });
  const before = performance.now();
  await timed(command, url, disk);
  const wallSeconds = (performance.now() - before) / 1000;
  const writtenBytes = (await stat(disk.backingPath)).blocks * 512;
  const used = await takeTimes(work);
  if (check) await execa('cmp', ['-n', String(imageBytes), disk.path, imagePath]);
  return { wallSeconds, ...used, writtenBytes };
}

async function timed(command: readonly string[], url: string, disk: LoopDevice): Promise<void> {
  const env = { IMG_URL: url, DEST_DISK: disk.path, COMPRESSED: 'true' };
  await execa('time', ['-o', join(work, 'image2disk.time'), '-f', '%U %S %M', ...command], { env });
}

function showSample(name: string, sample: Sample, beside: Sample | undefined): void {
  const { wallSeconds, cpuSeconds, peakBytes, writtenBytes } = sample;
  const ratios = [wallSeconds / (beside?.wallSeconds ?? Number.NaN), cpuSeconds / (beside?.cpuSeconds ?? Number.NaN)];
  const figures = [wallSeconds.toFixed(2), cpuSeconds.toFixed(2)];
  const sizes = [(peakBytes / mebibyte).toFixed(0), (writtenBytes / 1e6).toFixed(0)];
  show([name, ...figures, ...sizes, ...ratios.map((ratio) => ratio.toFixed(2))]);
}

function show(row: readonly string[]): void {
  process.stdout.write(`${row.map((cell, i) => (i ? cell.padStart(11) : cell.padEnd(20))).join('')}\n`);
}
