import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { DecompressError } from '../../../installer/decompress/error.ts';
import { randomStream } from './bzip2/corpus.ts';
import { decodeAll, decodedBy } from './bzip2/decode.ts';
import { BitWriter, writeStream } from './bzip2/encoder.ts';
import { inThisThread } from './bzip2/in-this-thread.ts';
import { decodedByKernel, decodedByZlib, randomDeflate } from './deflate.ts';
import { Random } from './random.ts';

// Makes odd and damaged bzip2 files and deflate streams for a while and compares what we make of
// them with what bzip2 and zlib do:
//   node test/installer/decompress/fuzz.ts --seconds 60 [--seed 1]

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } } });
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
/** A file here decodes in milliseconds; one that takes this long hangs. */
const hangsAfterMs = 60_000;
const end = performance.now() + Number(values.seconds) * 1000;
let good = 0;
let bad = 0;

process.stdout.write(`first seed ${firstSeed}\n`);
for (let seed = firstSeed; performance.now() < end; seed++) {
  const random = new Random(seed);
  const file = mutate(make(random), random);
  const expected = decodedBy('bzip2', file);
  const pieces = { pieceBytes: random.between(40, file.length + 100), overlapBytes: random.between(16, 5000) };
  for (const options of [{ kernel: 'wasm' }, { kernel: 'typescript' }, { kernel: 'wasm', ...pieces }] as const) {
    const difference = await compare(file, expected, { workers: 2, ...options });
    if (!difference) continue;
    const path = join(tmpdir(), `fuzz-${seed}.bz2`);
    await writeFile(path, file);
    process.stdout.write(`seed ${seed}, ${JSON.stringify(options)}: ${difference}; the file is ${path}\n`);
    process.exit(1);
  }
  if (expected) good++;
  else bad++;
  for (let i = 0; i < 20; i++) await compareDeflate(seed * 20 + i);
}
process.stdout.write(`${good} good and ${bad} bad files, 20 deflate streams for each, no difference\n`);

async function compareDeflate(seed: number): Promise<void> {
  const random = new Random(seed);
  const stream = randomDeflate(random);
  const expected = decodedByZlib(stream);
  const most = random.pick([1, 50, 3000, 2 ** 20]);
  const decoded = decodedByKernel(stream, () => random.between(1, most));
  const isSame = decoded?.usedBytes === expected?.usedBytes && (!expected || decoded?.bytes.equals(expected.bytes));
  if (isSame) return;
  const path = join(tmpdir(), `fuzz-${seed}.deflate`);
  await writeFile(path, stream);
  process.stdout.write(`seed ${seed}: zlib and the inflate kernel differ; the stream is ${path}\n`);
  process.exit(1);
}

function make(random: Random): Buffer {
  const writer = new BitWriter();
  for (let i = random.between(1, 3); i > 0; i--) writeStream(writer, randomStream(random), random);
  return writer.bytes();
}

function mutate(original: Buffer, random: Random): Buffer {
  let file = Buffer.from(original);
  for (let i = random.pick([0, 1, 1, 2, 5]); i > 0 && file.length > 0; i--) {
    const at = random.below(file.length);
    const mutation = random.pick(['bit', 'bit', 'bit', 'header bit', 'byte', 'cut', 'insert', 'repeat'] as const);
    const headerBit = random.below(Math.min(file.length * 8, 600));
    if (mutation === 'bit') file[at] = (file[at] ?? 0) ^ (1 << random.below(8));
    if (mutation === 'header bit') file[headerBit >> 3] = (file[headerBit >> 3] ?? 0) ^ (0x80 >> (headerBit & 7));
    if (mutation === 'byte') file[at] = random.below(256);
    if (mutation === 'cut') file = file.subarray(0, at);
    if (mutation === 'insert') file = Buffer.concat([file.subarray(0, at), random.bytes(3), file.subarray(at)]);
    if (mutation === 'repeat') file = Buffer.concat([file, file.subarray(at)]);
  }
  return file;
}

async function compare(
  file: Buffer,
  expected: Buffer | undefined,
  options: Parameters<typeof decodeAll>[1],
): Promise<string | undefined> {
  const signal = AbortSignal.timeout(hangsAfterMs);
  try {
    const decoded = await decodeAll(file, { ...options, signal, startWorker: inThisThread });
    if (!expected) return 'bzip2 rejects it, we do not';
    return expected.equals(decoded) ? undefined : 'we decode other bytes than bzip2';
  } catch (error) {
    if (signal.aborted) return `it is not decoded after ${hangsAfterMs / 1000} s`;
    if (!(error instanceof DecompressError)) throw error;
    return expected ? `we reject what bzip2 decodes: ${error.message}` : undefined;
  }
}
