import type { MessagePort } from 'node:worker_threads';
import { CancelledError, Mailbox } from '../threads/mailbox.ts';
import type { DecodeRequest } from '../threads/messages.ts';
import type { Kernel } from './kernel.ts';
import { PieceDecoder } from './piece.ts';
import type { WorkerSettings } from './worker-settings.ts';

/** Makes a kernel for inputs of up to `inputBytes`. */
export type CreateKernel = (lanes: number, inputBytes: number) => Kernel;

/**
 * Decodes pieces of a bzip2 file in the order of requests until the port is closed.
 */
export async function serve(port: MessagePort, createKernel: CreateKernel, settings: WorkerSettings): Promise<void> {
  let kernel = createKernel(settings.lanes, settings.inputBytes);
  const mailbox = new Mailbox(port, settings.buffers);
  for (let request = await mailbox.request(); request; request = await mailbox.request()) {
    const loadedBytes = request.parts.reduce((sum, part) => sum + part.lengthBytes, 0);
    if (loadedBytes > kernel.input.length) kernel = createKernel(settings.lanes, loadedBytes);
    load(kernel, request);
    try {
      await new PieceDecoder(kernel, mailbox.sink(request)).decode({ ...request, loadedBytes });
    } catch (error) {
      if (!(error instanceof CancelledError)) throw error;
    }
  }
}

function load(kernel: Kernel, { parts }: DecodeRequest): void {
  let filled = 0;
  for (const part of parts) {
    kernel.input.set(new Uint8Array(part.memory, 0, part.lengthBytes), filled);
    filled += part.lengthBytes;
  }
}
