import { availableParallelism } from 'node:os';
import type { Extent } from '../../extent.ts';
import { DecompressError, damaged } from '../error.ts';
import { liblzmaBinary } from '../liblzma-binary.ts';
import { SourceReader } from '../source-reader.ts';
import { type JobResults, Pool } from '../threads/pool.ts';
import { type Block, type BlockOptions, blocksOf, minGroupBytes } from './blocks.ts';
import { Decoder, InvalidXzError } from './decoder.ts';
import { tooLarge } from './reasons.ts';
import { startWorker } from './start-worker.ts';

/**
 * Enough for the largest dictionary of a preset (64 MiB at -9), within the memory limit of the
 * installer.
 */
const memoryLimitBytes = 100 * 1024 * 1024;
/** A longer block is decoded as it arrives. */
const maxJobBytes = 32 * 1024 * 1024;
/** Of a MiB: half of a block of the usual preset. */
const buffersPerWorker = 12;
/** Approximate memory of one thread with its share of blocks and buffers. */
const workerBytes = 128 * 1024 * 1024;

export interface XzOptions extends BlockOptions {
  readonly signal?: AbortSignal | undefined;
  /** Threads. Default: one for each core, fewer if memory is short. */
  readonly workers?: number | undefined;
}

/**
 * Decodes xz, all streams of the file, with all checks verified that liblzma knows; by liblzma
 * compiled to WebAssembly, blocks of up to 32 MiB by several threads.
 */
export async function* xz(source: AsyncIterable<Uint8Array>, options: XzOptions): AsyncGenerator<Extent> {
  const { signal } = options;
  const workers = options.workers ?? suitableWorkers();
  const binary = await liblzmaBinary();
  const reader = new SourceReader(source);
  await using pool = new AsyncDisposableStack();
  using here = await Decoder.create(binary, memoryLimitBytes);
  let threads: Pool | undefined;
  const jobs: Job[] = [];
  try {
    for await (const block of blocksOf(reader, options)) {
      signal?.throwIfAborted();
      const gathered = await gather(block.parts);
      if (gathered.isWhole && gathered.lengthBytes >= minGroupBytes) {
        threads ??= pool.use(
          new Pool(
            workers,
            () => startWorker({ binary, memoryLimitBytes, buffers: buffersPerWorker }),
            () => {},
          ),
        );
        jobs.push(started(threads, block.startBytes, gathered));
        // One job more than threads: the next block of a thread is there when it needs it.
        if (jobs.length > workers) yield* resultsOf(jobs.shift(), signal);
      } else {
        while (jobs.length > 0) yield* resultsOf(jobs.shift(), signal);
        yield* decodedHere(here, block, gathered, signal);
      }
    }
    while (jobs.length > 0) yield* resultsOf(jobs.shift(), signal);
  } finally {
    await reader.close();
  }
}

function suitableWorkers(): number {
  const affordable = Math.floor(process.availableMemory() / 4 / workerBytes);
  return Math.max(1, Math.min(availableParallelism(), affordable));
}

interface Gathered {
  readonly parts: readonly Uint8Array[];
  readonly lengthBytes: number;
  /** False: there are more parts. */
  readonly isWhole: boolean;
}

/** Takes parts until there are too many for a job. */
async function gather(source: AsyncGenerator<Uint8Array>): Promise<Gathered> {
  const parts: Uint8Array[] = [];
  let lengthBytes = 0;
  while (lengthBytes <= maxJobBytes) {
    const next = await source.next();
    if (next.done) return { parts, lengthBytes, isWhole: true };
    parts.push(next.value);
    lengthBytes += next.value.length;
  }
  return { parts, lengthBytes, isWhole: false };
}

interface Job {
  readonly startBytes: number;
  readonly results: JobResults;
}

function started(pool: Pool, startBytes: number, { parts, lengthBytes }: Gathered): Job {
  const memory = new SharedArrayBuffer(lengthBytes);
  const bytes = new Uint8Array(memory);
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  const results = pool.start({ parts: [{ memory, lengthBytes }], start: 0, endBit: lengthBytes * 8, last: true });
  return { startBytes, results };
}

async function* resultsOf(job: Job | undefined, signal: AbortSignal | undefined): AsyncGenerator<Extent> {
  if (job === undefined) return;
  for (;;) {
    const { event, giveBack } = await job.results.next(signal);
    if (event.kind === 'data') {
      yield { kind: 'data', bytes: new Uint8Array(event.buffer, 0, event.lengthBytes), release: giveBack };
    } else if (event.kind === 'zero') {
      yield event;
    } else if (event.kind === 'invalid') {
      throw explained(job.startBytes, event.bit / 8, event.reason);
    } else {
      return;
    }
  }
}

async function* decodedHere(
  decoder: Decoder,
  { startBytes, parts }: Block,
  gathered: Gathered,
  signal: AbortSignal | undefined,
): AsyncGenerator<Extent> {
  const all = async function* () {
    yield* gathered.parts;
    yield* parts;
  };
  try {
    decoder.start();
    for await (const part of all()) {
      signal?.throwIfAborted();
      for (const bytes of decoder.decode(part)) yield { kind: 'data', bytes, release() {} };
    }
    for (const bytes of decoder.end()) yield { kind: 'data', bytes, release() {} };
  } catch (error) {
    if (!(error instanceof InvalidXzError)) throw error;
    throw explained(startBytes, error.usedBytes, error.isTooLarge ? tooLarge : error.message);
  }
}

const streamHeaderBytes = 12;

/** @param usedBytes of the stream that the block was made to */
function explained(startBytes: number, usedBytes: number, reason: string): DecompressError {
  const offsetBytes = startBytes + Math.max(0, usedBytes - streamHeaderBytes);
  if (reason !== tooLarge) return damaged('xz', reason, offsetBytes);
  const why = `xz needs more than ${memoryLimitBytes / 1024 / 1024} MiB of memory to decode it`;
  return new DecompressError(why, { offsetBytes, hint: 'compress the image with a preset of xz, such as -9' });
}
