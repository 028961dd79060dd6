import { spawnSync } from 'node:child_process';
import { copyFile, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { createInflateRaw } from 'node:zlib';
import { DecompressError } from '../../../installer/decompress/error.ts';
import { openFileAccess } from '../../../installer/fetch/file-access.ts';
import { streamAccess } from '../../../installer/fetch/stream-access.ts';
import { openQcow2 } from '../../../installer/qcow2/qcow2.ts';
import { chunks, collect } from '../decompress/bzip2/decode.ts';
import { Random } from '../decompress/random.ts';
import { makeImage, writeRawImages } from './corpus.ts';

// Makes images with qemu-img and qemu-io, changes bytes of their tables, and compares what we make
// of them with what qemu-img does, for a while:
//   node test/installer/qcow2/fuzz.ts --seconds 60 [--seed 1]

const { values } = parseArgs({ options: { seconds: { type: 'string', default: '60' }, seed: { type: 'string' } } });
const firstSeed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
/** An image here is decoded in milliseconds; one that takes this long hangs. */
const hangsAfterMs = 60_000;
/** More is not compared: a changed header may describe a disk of any size. */
const maxDiskBytes = 64 * 1024 * 1024;
const changedImages = 12;

/**
 * We refuse what QEMU reads: data behind the end of the file, which it takes for zeroes; tables as
 * data; a cluster that is decoded to more than a cluster; images marked as corrupt; half sectors.
 */
const weAreStricter =
  /the file has only|is not all in the file|it ends before|a part of|more bytes than a cluster|marked as corrupt|not whole sectors|its header extension|contradicts its features|backing file|its disk has|only \d+ bytes$/;
/** QEMU refuses what we do not look at: reference counts, snapshots, bitmaps, `autoclear` bits. */
const qemuIsStricter = /reference count|refcount|snapshot|bitmap|data-file-raw/i;

const directory = await mkdtemp(join(tmpdir(), 'nibs-qcow2-fuzz-'));
const end = performance.now() + Number(values.seconds) * 1000;
const counts = { equal: 0, 'both refuse': 0, 'only we refuse': 0, 'only qemu refuses': 0, 'too large': 0 };

process.stdout.write(`first seed ${firstSeed}\n`);
try {
  await writeRawImages(directory);
  for (let seed = firstSeed; performance.now() < end; seed++) {
    const random = new Random(seed);
    const original = await makeImage(directory, { commands: randomCommands(random) }, 'original.qcow2');
    for (let i = 0; i < changedImages && performance.now() < end; i++) {
      const path = join(directory, 'changed.qcow2');
      if (i === 0) await copyFile(original, path);
      else await writeFile(path, changed(await readFile(original), random));
      const outcome = await compare(path);
      if (outcome in counts) {
        counts[outcome as keyof typeof counts]++;
        continue;
      }
      const kept = join(tmpdir(), `fuzz-${seed}-${i}.qcow2`);
      await copyFile(path, kept);
      process.stdout.write(`seed ${seed}, image ${i}: ${outcome}; the file is ${kept}\n`);
      process.exitCode = 1;
      break;
    }
    if (process.exitCode === 1) break;
  }
} finally {
  await rm(directory, { recursive: true });
}
const summary = Object.entries(counts).map(([name, count]) => `${name}: ${count}`);
process.stdout.write(`${summary.join(', ')}${process.exitCode === 1 ? '' : '; no difference'}\n`);

function randomCommands(random: Random): string[] {
  const options = [`cluster_size=${random.pick([512, 4096, 16_384, 65_536, 262_144])}`];
  if (random.chance(5)) options[0] = 'compat=0.10';
  else {
    if (random.chance(3)) options.push('compression_type=zstd');
    if (random.chance(3) && options[0] !== 'cluster_size=512' && options[0] !== 'cluster_size=4096')
      options.push('extended_l2=on');
  }
  const raw = random.pick([65_535, 1_000_003, 2_097_664]);
  const compress = random.chance(2) ? '-c' : '-S 4k';
  const commands = [`qemu-img convert -f raw -O qcow2 ${compress} -o ${options.join()} ${raw}.raw IMAGE`];
  if (random.chance(3)) commands.push('qemu-img snapshot -c one IMAGE');
  const writes = Array.from({ length: random.between(0, 6) }, () => {
    const lengthBytes = 512 * random.between(1, 60);
    const start = 512 * random.below(Math.floor((Math.ceil(raw / 512) * 512 - lengthBytes) / 512));
    const write = random.pick(['write -P 5', 'write -P 6', 'write -z', 'write -z -u', 'discard']);
    return `${write} ${start} ${lengthBytes}`;
  });
  if (writes.length > 0) commands.push(`qemu-io IMAGE ${writes.join('; ')}`);
  return commands;
}

/** Changes some bytes, mostly of the header and the tables. */
function changed(file: Buffer, random: Random): Buffer {
  const clusterBytes = 2 ** file.readUInt32BE(20);
  const l1 = Number(file.readBigUInt64BE(40));
  const l2 = Number(file.readBigUInt64BE(l1) & 0x00ffffff_fffffe00n);
  let bytes = Buffer.from(file);
  for (let i = random.between(1, 3); i > 0; i--) {
    const place = random.chance(20) ? 'end' : random.pick(['header', 'L1', 'L2', 'L2', 'L2', 'anywhere'] as const);
    if (place === 'end') {
      bytes = bytes.subarray(0, random.between(bytes.length >> 1, bytes.length));
      continue;
    }
    const [start, length] = {
      header: [0, 112],
      L1: [l1, 16],
      L2: [l2, Math.min(clusterBytes, 512)],
      anywhere: [0, bytes.length],
    }[place] as [number, number];
    const at = Math.min(bytes.length - 1, start + random.below(length));
    if (random.chance(2)) bytes[at] = (bytes[at] ?? 0) ^ (1 << random.below(8));
    else bytes[at] = random.below(256);
    // Another entry, as it is.
    if (place === 'L2' && random.chance(4)) {
      const entry = start + 8 * random.below(length / 8);
      if (entry + 8 <= bytes.length) bytes.copy(bytes, (at >> 3) << 3, entry, entry + 8);
    }
  }
  return bytes;
}

async function compare(path: string): Promise<string> {
  const signal = AbortSignal.timeout(hangsAfterMs);
  const ours = await attempt(async () => {
    using access = await openFileAccess(path);
    const disk = await openQcow2(access, signal);
    return disk.sizeBytes > maxDiskBytes ? undefined : await collect(disk.extents());
  });
  if (signal.aborted) return `it is not decoded after ${hangsAfterMs / 1000} s`;
  if (ours === undefined) return 'too large';
  const file = await readFile(path);
  const asStream = await attempt(async () => {
    const bytes = chunks(file, 65_536);
    const stream = streamAccess({ origin: path, sizeBytes: file.length, bytes, [Symbol.dispose]() {} });
    return await collect((await openQcow2(stream, signal)).extents());
  });
  if (Buffer.isBuffer(ours) ? !Buffer.isBuffer(asStream) || !asStream.equals(ours) : Buffer.isBuffer(asStream))
    return 'by ranges and as a stream differ';

  const raw = join(directory, 'decoded.raw');
  const args = ['10', 'qemu-img', 'convert', '-t', 'unsafe', '-f', 'qcow2', '-O', 'raw', path, raw];
  const qemu = spawnSync('timeout', args, { encoding: 'utf8' });
  // Of a disk of any size, as a changed header may describe it.
  if (qemu.status === 124) return Buffer.isBuffer(ours) ? 'qemu-img does not end' : 'too large';
  if (qemu.status !== 0) {
    if (!Buffer.isBuffer(ours)) return 'both refuse';
    return qemuIsStricter.test(qemu.stderr) ? 'only qemu refuses' : `qemu-img refuses it: ${qemu.stderr}`;
  }
  if (!Buffer.isBuffer(ours))
    return weAreStricter.test(ours.message) || (await fillsCluster(file, ours))
      ? 'only we refuse'
      : `we refuse what qemu-img reads: ${ours.message}`;
  return ours.equals(await readFile(raw)) ? 'equal' : 'we decode other bytes than qemu-img';
}

/**
 * Whether deflated data that we refuse is a whole cluster before what is wrong with it. QEMU does
 * not read further.
 */
async function fillsCluster(file: Buffer, { message, offsetBytes = 0 }: DecompressError): Promise<boolean> {
  if (!message.includes('the zlib data')) return false;
  const clusterBytes = 2 ** file.readUInt32BE(20);
  const decoder = createInflateRaw({ chunkSize: clusterBytes });
  decoder.end(file.subarray(offsetBytes, offsetBytes + 2 * clusterBytes));
  try {
    for await (const chunk of decoder) return chunk.length === clusterBytes;
  } catch {
    // It is damaged before.
  }
  return false;
}

/** @returns the error with which the image is refused */
async function attempt(decode: () => Promise<Buffer | undefined>): Promise<Buffer | DecompressError | undefined> {
  try {
    return await decode();
  } catch (error) {
    if (error instanceof DecompressError) return error;
    throw error;
  }
}
