/**
 * Decoding a bzip2 image, output discarded: ours against lbzip2 and bzip2, alternating.
 *
 *     node test/bench/decompress.ts [--image-megabytes 1024] [--content-megabytes 100] \
 *       [--rounds 3] [--threads 2]
 *
 * The image is like Flatcar's: a part that does not compress, all else zeroes, compressed by lbzip2
 * -9. Today's has 8456 MB and 500 MB. With BENCH_JSON=path the ratios are also written there as
 * rows.
 */
import { execFileSync } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { mkdtemp, open, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { build } from 'esbuild';
import { execa } from 'execa';
import { decompressPlugin } from '../../installer/decompress/esbuild-plugin.ts';
import { type Row, writeRows } from './rows.ts';

interface Sample {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
}

const { values } = parseArgs({
  options: {
    'image-megabytes': { type: 'string', default: '1024' },
    'content-megabytes': { type: 'string', default: '100' },
    rounds: { type: 'string', default: '3' },
    threads: { type: 'string', default: '2' },
  },
});
const threads = Number(values.threads);
const folder = await mkdtemp(join(tmpdir(), 'bench-decompress-'));
try {
  const image = await makeImage(Number(values['image-megabytes']) * 1e6, Number(values['content-megabytes']) * 1e6);
  const ours = await bundle();
  const commands = {
    ours: [process.execPath, ours, image, String(threads), 'wasm'],
    'ours, plain TypeScript': [process.execPath, ours, image, String(threads), 'typescript'],
    [`lbzip2 -n${threads}`]: ['lbzip2', `-n${threads}`, '-dc', image],
    bzip2: ['bzip2', '-dc', image],
  };
  const samples = Object.fromEntries(Object.keys(commands).map((name) => [name, [] as Sample[]]));
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const [name, command] of Object.entries(commands)) samples[name]?.push(await measure(command));
  }
  await report(Object.fromEntries(Object.entries(samples).map(([name, all]) => [name, median(all)])));
} finally {
  await rm(folder, { recursive: true });
}

async function makeImage(imageBytes: number, contentBytes: number): Promise<string> {
  const path = join(folder, 'image');
  {
    await using file = await open(path, 'w');
    const noise = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16));
    const start = Math.floor(imageBytes / 8);
    for (let at = 0; at < contentBytes; at += 1e6)
      await file.write(noise.update(Buffer.alloc(1e6)), 0, 1e6, start + at);
    await file.truncate(imageBytes);
  }
  execFileSync('lbzip2', ['-9', path]);
  const { size } = await stat(`${path}.bz2`);
  process.stdout.write(`image of ${imageBytes / 1e6} MB, compressed ${(size / 1e6).toFixed(1)} MB\n`);
  return `${path}.bz2`;
}

/** The decoder as the executable carries it: bundled, in a process of its own. */
async function bundle(): Promise<string> {
  const outfile = join(folder, 'ours.cjs');
  await build({
    stdin: {
      contents: `
        import { createReadStream } from 'node:fs';
        import { bzip2 } from './installer/decompress/bzip2/bzip2.ts';
        import { wholePages } from './installer/decompress/pages.ts';
        const [path, workers, kernel] = process.argv.slice(2);
        async function main() {
          const source = createReadStream(path, { highWaterMark: 1024 * 1024 });
          for await (const extent of wholePages(bzip2(source, { workers: Number(workers), kernel }))) extent.release?.();
        }
        main();`,
      resolveDir: resolve(import.meta.dirname, '../..'),
    },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    outfile,
    plugins: [decompressPlugin()],
    logOverride: { 'empty-import-meta': 'silent' },
  });
  return outfile;
}

async function measure(command: readonly string[]): Promise<Sample> {
  const { stderr } = await execa('/usr/bin/time', ['-f', '%e %U %S %M', ...command], { stdout: 'ignore' });
  const [wall = 0, user = 0, system = 0, peakKiB = 0] = (stderr.split('\n').at(-1) ?? '').split(' ').map(Number);
  return { wallSeconds: wall, cpuSeconds: user + system, peakBytes: peakKiB * 1024 };
}

/** Each figure's median of its own: what else runs on the machine disturbs them separately. */
function median(samples: readonly Sample[]): Sample {
  const middle = (figure: (sample: Sample) => number) =>
    samples.map(figure).sort((a, b) => a - b)[Math.floor(samples.length / 2)] ?? Number.NaN;
  return {
    wallSeconds: middle((sample) => sample.wallSeconds),
    cpuSeconds: middle((sample) => sample.cpuSeconds),
    peakBytes: middle((sample) => sample.peakBytes),
  };
}

async function report(medians: Record<string, Sample>): Promise<void> {
  const { ours } = medians;
  if (!ours) throw new Error('nothing was measured');
  const rows = [['', 'wall s', 'CPU s', 'peak MiB', 'ours: wall', 'ours: CPU']];
  const json: Row[] = [];
  for (const [name, { wallSeconds, cpuSeconds, peakBytes }] of Object.entries(medians)) {
    const ratios = name === 'ours' ? ['', ''] : [ours.wallSeconds / wallSeconds, ours.cpuSeconds / cpuSeconds];
    const figures = [wallSeconds, cpuSeconds, Math.round(peakBytes / 2 ** 20), ...ratios];
    rows.push([name, ...figures.map((figure) => (typeof figure === 'number' ? String(+figure.toFixed(2)) : figure))]);
    if (name.startsWith('ours')) continue;
    for (const [metric, unit, own, rivalValue] of [
      ['wall', 's', ours.wallSeconds, wallSeconds],
      ['cpu', 's', ours.cpuSeconds, cpuSeconds],
      ['peak_rss', 'bytes', ours.peakBytes, peakBytes],
    ] as const) {
      json.push({ bench: 'decompress', metric, unit, ours: own, rival: name, rivalValue, ratio: own / rivalValue });
    }
  }
  for (const row of rows)
    process.stdout.write(`${row.map((cell, i) => (i ? cell.padStart(11) : cell.padEnd(24))).join('')}\n`);
  await writeRows(json);
}
