import type { MessagePort } from 'node:worker_threads';
import { CancelledError, Mailbox } from '../threads/mailbox.ts';
import { Decoder, InvalidXzError } from './decoder.ts';
import { tooLarge } from './reasons.ts';

export interface XzWorkerSettings {
  /** Of liblzma. */
  readonly binary: Uint8Array;
  readonly memoryLimitBytes: number;
  /** Buffers of decoded bytes that the worker may fill before the reader returns one. */
  readonly buffers: number;
}

const mebibyte = 1024 * 1024;
const zeroes = Buffer.alloc(mebibyte);
/** Zeroes are reported at the latest when there are so many. */
const maxZeroBytes = 64 * mebibyte;

/** Decodes streams in the order of requests until the port is closed. */
export async function serve(port: MessagePort, { binary, memoryLimitBytes, buffers }: XzWorkerSettings): Promise<void> {
  // Before the library is loaded: no request may be missed.
  const mailbox = new Mailbox(port, buffers);
  using decoder = await Decoder.create(binary, memoryLimitBytes);
  for (let request = await mailbox.request(); request; request = await mailbox.request()) {
    const sink = mailbox.sink(request);
    let zeroBytes = 0;
    const sendZeroes = () => {
      if (zeroBytes > 0) sink.send({ kind: 'zero', lengthBytes: zeroBytes });
      zeroBytes = 0;
    };
    const send = async (bytes: Uint8Array) => {
      if (bytes.length === 0) return;
      if (zeroes.compare(bytes, 0, bytes.length, 0, bytes.length) === 0) {
        zeroBytes += bytes.length;
        if (zeroBytes >= maxZeroBytes) sendZeroes();
        return;
      }
      sendZeroes();
      const buffer = await sink.buffer();
      new Uint8Array(buffer).set(bytes);
      sink.send({ kind: 'data', buffer, lengthBytes: bytes.length });
    };
    try {
      decoder.start();
      for (const { memory, lengthBytes } of request.parts)
        for (const bytes of decoder.decode(new Uint8Array(memory, 0, lengthBytes))) await send(bytes);
      for (const bytes of decoder.end()) await send(bytes);
      sendZeroes();
      sink.send({ kind: 'done', bit: 0 });
    } catch (error) {
      if (error instanceof InvalidXzError)
        sink.send({ kind: 'invalid', bit: error.usedBytes * 8, reason: error.isTooLarge ? tooLarge : error.message });
      else if (!(error instanceof CancelledError)) throw error;
    }
  }
}
