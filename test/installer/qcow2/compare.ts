import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdtempDisposable, readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { execa } from 'execa';
import { createDownloadClient } from '../../../installer/fetch/client.ts';
import { openFileAccess } from '../../../installer/fetch/file-access.ts';
import type { RangedImage, StreamedImage } from '../../../installer/fetch/random-access.ts';
import { openRanges } from '../../../installer/fetch/ranges.ts';
import { openVerified } from '../../../installer/qcow2/open-verified.ts';
import { startMirror } from '../../sandbox/mirror.ts';

// Compares disks in qcow2 images, made by any program, with what qemu-img makes of them: from the
// file, by HTTP ranges, and in the order of the file. That order may be refused.
//   node test/installer/qcow2/compare.ts IMAGE…

const never = new AbortController().signal;
const zeroes = Buffer.alloc(1024 * 1024);

async function hashOf(access: RangedImage | StreamedImage): Promise<string> {
  const disk = await openVerified(access, undefined, never);
  const hash = createHash('sha256');
  for await (const extent of disk.extents()) {
    if (extent.kind === 'data') {
      hash.update(extent.bytes);
      extent.release();
    } else {
      for (let rest = extent.lengthBytes; rest > 0; rest -= zeroes.length) hash.update(zeroes.subarray(0, rest));
    }
  }
  return hash.digest('hex');
}

await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-qcow2-'));
await using mirror = await startMirror();
const paths = process.argv.slice(2);
if (paths.length === 0) {
  process.stderr.write('error: no image is named; give IMAGES="a.qcow2 …"\n');
  process.exit(2);
}
let differences = 0;
for (const path of paths) {
  const raw = join(directory.path, 'raw');
  await execa('qemu-img', ['convert', '-f', 'qcow2', '-O', 'raw', path, raw]);
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(raw)) hash.update(chunk);
  const expected = hash.digest('hex');
  using access = await openFileAccess(path);
  const results = [`file ${(await hashOf(access)) === expected ? 'equal' : 'DIFFERENT'}`];
  for (const [way, options] of [
    ['ranges', {}],
    ['in order', { ranges: false }],
  ] as const) {
    mirror.put('/image', await readFile(path), options);
    using client = createDownloadClient();
    try {
      using ranges = await openRanges(client, [new URL(`${mirror.url}/image`)], never);
      results.push(`${way} ${(await hashOf(ranges)) === expected ? 'equal' : 'DIFFERENT'}`);
    } catch (error) {
      if (way === 'ranges') throw error;
      results.push(`${way} refused (${error instanceof Error ? error.message : String(error)})`);
    }
  }
  differences += results.filter((result) => result.endsWith('DIFFERENT')).length;
  process.stdout.write(`${basename(path)}: ${results.join(', ')}\n`);
}
process.stdout.write(`${differences} differences\n`);
process.exitCode = differences === 0 ? 0 : 1;
