import { spawnSync } from 'node:child_process';
import { MessageChannel } from 'node:worker_threads';
import { type Bzip2Options, bzip2 } from '../../../../installer/decompress/bzip2/bzip2.ts';
import type { Kernel } from '../../../../installer/decompress/bzip2/kernel.ts';
import type { DecodingWorker, WorkerSettings } from '../../../../installer/decompress/bzip2/messages.ts';
import { serve } from '../../../../installer/decompress/bzip2/serve.ts';
import { typescriptKernel } from '../../../../installer/decompress/bzip2/typescript-kernel.ts';
import { wasmKernel } from '../../../../installer/decompress/bzip2/wasm-kernel.ts';
import type { Extent } from '../../../../installer/extent.ts';

/** Decodes a file, given in chunks, into one buffer. */
export async function decodeAll(
  file: Uint8Array,
  options: Bzip2Options & { chunkBytes?: number } = {},
): Promise<Buffer> {
  return await collect(bzip2(chunks(file, options.chunkBytes ?? 65_536), options));
}

export async function collect(extents: AsyncIterable<Extent>): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const extent of extents) {
    if (extent.kind === 'zero') {
      parts.push(Buffer.alloc(extent.lengthBytes));
    } else {
      parts.push(Buffer.from(extent.bytes));
      extent.release();
    }
  }
  return Buffer.concat(parts);
}

export async function* chunks(bytes: Uint8Array, chunkBytes: number): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += chunkBytes) yield bytes.subarray(at, at + chunkBytes);
}

/** What the program makes of a file; undefined if it rejects it. */
export function decodedBy(program: 'bzip2' | 'lbzip2', file: Uint8Array): Buffer | undefined {
  // That the program did not read all its input (an error for `spawnSync`) is not its verdict.
  const { status, stdout } = spawnSync(program, ['-dc'], { input: file, maxBuffer: 1 << 28 });
  return status === 0 ? stdout : undefined;
}

const kernels = new Map<string, Kernel[]>();

/**
 * Decodes in the thread of the test, by the code that otherwise runs in a worker thread and over
 * the same messages: starting a thread for each of many small files would take most of the time.
 * Kernels are used again, as a thread does.
 */
export function inThisThread(settings: WorkerSettings): DecodingWorker {
  const { port1, port2 } = new MessageChannel();
  const create = settings.kernel === 'wasm' ? wasmKernel : typescriptKernel;
  const free = kernels.get(settings.kernel) ?? [];
  kernels.set(settings.kernel, free);
  let kernel = free.pop();
  const served = serve(
    port2,
    (lanes, inputBytes) => {
      if (!kernel || kernel.input.length < inputBytes) kernel = create(lanes, inputBytes);
      return kernel;
    },
    settings,
  );
  return {
    postMessage: (message, transfer) => port1.postMessage(message, [...transfer]),
    on(event: string, listener: (value: never) => void) {
      if (event === 'message') port1.on('message', listener as (message: unknown) => void);
      if (event === 'error') served.catch(listener as (error: Error) => void);
    },
    async terminate() {
      port1.close();
      await served;
      if (kernel) free.push(kernel);
    },
  };
}
