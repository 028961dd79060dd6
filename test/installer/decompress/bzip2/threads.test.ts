import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { describe, test } from 'node:test';
import { Worker } from 'node:worker_threads';
import { bzip2 } from '../../../../installer/decompress/bzip2/bzip2.ts';
import { DecompressError } from '../../../../installer/decompress/error.ts';
import { Random } from '../random.ts';
import { compress, corpus } from './corpus.ts';
import { chunks, collect, decodeAll, decodedBy } from './decode.ts';
import { inThisThread } from './in-this-thread.ts';

const random = new Random(21);
const text = Buffer.concat([random.bytes(3_000_000), Buffer.alloc(20_000_000), random.bytes(2_000_000, 7)]);
const file = compress('lbzip2', text, 9);

describe('bzip2() with threads', () => {
  for (const workers of [1, 2, 5]) {
    test(`decodes in order with ${workers}`, async () => {
      assert.ok(text.equals(await decodeAll(file, { workers, pieceBytes: 400_000 })));
    });
  }

  test('decodes with the plain kernel in threads', async () => {
    assert.ok(text.equals(await decodeAll(file, { workers: 2, kernel: 'typescript' })));
  });

  test('says where the damage is', async () => {
    const damaged = Buffer.from(file);
    damaged[2_500_000] = (damaged[2_500_000] ?? 0) ^ 1;
    await assert.rejects(decodeAll(damaged, { workers: 2, pieceBytes: 400_000 }), (error) => {
      assert.ok(error instanceof DecompressError);
      assert.match(
        error.message,
        /^cannot decode the image: the bzip2 data at byte \d+ \(bit \d\) is invalid: its checksum/,
      );
      const offset = error.offsetBytes ?? 0;
      assert.ok(offset > 1_500_000 && offset <= 2_500_000, `offset ${offset}`);
      return true;
    });
  });

  test('warns of bytes after the end, and reads them', async () => {
    const warnings: string[] = [];
    const garbage = Buffer.alloc(5_000_000, 'x');
    let readBytes = 0;
    const source = async function* () {
      for await (const chunk of chunks(Buffer.concat([file, garbage]), 100_000)) {
        readBytes += chunk.length;
        yield chunk;
      }
    };
    const decoded = await collect(bzip2(source(), { workers: 2, onWarning: (message) => warnings.push(message) }));
    assert.ok(text.equals(decoded));
    assert.deepEqual(warnings, ['the image is followed by 5000000 bytes that are not bzip2; they are ignored']);
    assert.equal(readBytes, file.length + garbage.length);
  });

  test('keeps nothing of what it has read', async () => {
    let maxBytes = 0;
    const source = async function* () {
      yield file;
      for (let i = 0; i < 400; i++) {
        yield Buffer.alloc(1024 * 1024, 'x');
        maxBytes = Math.max(maxBytes, process.memoryUsage().arrayBuffers);
      }
    };
    for await (const extent of bzip2(source(), { workers: 1 })) if (extent.kind === 'data') extent.release();
    assert.ok(maxBytes < 250 * 1024 * 1024, `${maxBytes} bytes of buffers`);
  });

  test('passes on the failure of its source', async () => {
    const source = async function* () {
      yield* chunks(file.subarray(0, 1_000_000), 65_536);
      throw new Error('connection lost');
    };
    await assert.rejects(collect(bzip2(source(), { workers: 2, pieceBytes: 100_000 })), /^Error: connection lost$/);
  });

  test('ends at once when the signal is aborted, even while the source is silent', async () => {
    const silent = async function* () {
      yield file.subarray(0, 1_500_000);
      await new Promise<never>(() => undefined);
    };
    const controller = new AbortController();
    const extents = bzip2(silent(), {
      workers: 1,
      pieceBytes: 400_000,
      overlapBytes: 700_000,
      signal: controller.signal,
    });
    const first = await extents.next();
    assert.equal(first.value?.kind, 'data');
    const rest = collect(extents);
    controller.abort(new Error('no longer wanted'));
    await assert.rejects(rest, /no longer wanted/);
  });

  test('reads no further ahead than its pieces while its extents are not read', async () => {
    const long = Buffer.concat(Array.from({ length: 5 }, () => file));
    let readBytes = 0;
    const source = async function* () {
      for await (const chunk of chunks(long, 65_536)) {
        readBytes += chunk.length;
        yield chunk;
      }
    };
    const extents = bzip2(source(), { workers: 2, pieceBytes: 200_000 });
    await extents.next();
    // Decoding the whole from here on, in pieces, shows that waiting did no harm.
    const held = readBytes;
    assert.ok(held <= 200_000 * 12, `${held} bytes read`);
    const hash = createHash('sha256');
    for await (const extent of extents) {
      if (extent.kind === 'data') extent.release();
      hash.update(extent.kind);
    }
    assert.equal(readBytes, long.length);
  });

  test('reports a thread that dies', async () => {
    const startWorker = () => new Worker('process.exit(7)', { eval: true });
    await assert.rejects(
      decodeAll(file, { workers: 1, startWorker }),
      /^DecompressError: cannot decode the image: a decoding thread failed: it ended with exit code 7$/,
    );
  });

  test('leaves no thread behind when the reader stops early', async () => {
    const started: Worker[] = [];
    const startWorker = (workerData: unknown) => {
      const url = new URL('../../../../installer/decompress/bzip2/worker.ts', import.meta.url);
      const worker = new Worker(url, { workerData });
      started.push(worker);
      return worker;
    };
    const exits: Promise<unknown>[] = [];
    for await (const _ of bzip2(chunks(file, 65_536), { workers: 2, pieceBytes: 100_000, startWorker })) {
      exits.push(...started.map((worker) => once(worker, 'exit')));
      break;
    }
    assert.equal(exits.length, 2);
    await Promise.all(exits);
  });
});

test('a worker gets its buffers back from pieces that were decoded and then given up', {
  timeout: 600_000,
}, async () => {
  const bytes = random.bytes(2_000_000);
  const blocks = compress('bzip2', bytes, 1);
  // Nearly every piece is cut by a block that is longer than its overlap, and those after it start
  // again.
  const decoded = await decodeAll(blocks, {
    workers: 2,
    pieceBytes: 150_000,
    overlapBytes: 16,
    startWorker: inThisThread,
  });
  assert.ok(bytes.equals(decoded));
});

test('bits that look like a block or an end, but are not, mislead no piece', async () => {
  const it = [...corpus()].find(({ name }) => name === 'what looks like a block within a block');
  assert.ok(it);
  const expected = decodedBy('bzip2', it.file);
  assert.ok(expected);
  for (let pieceBytes = 40; pieceBytes < 4000; pieceBytes += 37) {
    const decoded = await decodeAll(it.file, { workers: 2, pieceBytes, overlapBytes: 5000, startWorker: inThisThread });
    assert.ok(expected.equals(decoded), `pieces of ${pieceBytes} bytes`);
  }
});
