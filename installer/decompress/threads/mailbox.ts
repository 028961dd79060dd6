import { setImmediate } from 'node:timers/promises';
import type { MessagePort } from 'node:worker_threads';
import type { PieceEvent } from '../bzip2/piece.ts';
import { bufferBytes, type DecodeRequest, type FromWorker, type ToWorker } from './messages.ts';

/** The reader gave the request up. */
export class CancelledError extends Error {}

/** Messages between a decoding thread and its pool. */
export class Mailbox {
  readonly #port: MessagePort;
  readonly #requests: DecodeRequest[] = [];
  readonly #buffers: ArrayBuffer[] = [];
  /** Number of buffers that may still be created. */
  #unmade: number;
  #cancelledUpTo = -1;
  #closed = false;
  #wake: (() => void) | undefined;

  constructor(port: MessagePort, buffers: number) {
    this.#port = port;
    this.#unmade = buffers;
    port.on('message', (message: ToWorker) => {
      if (message.kind === 'decode') this.#requests.push(message);
      else if (message.kind === 'cancel') this.#cancelledUpTo = message.upTo;
      else this.#buffers.push(message.buffer);
      this.#wake?.();
    });
    port.on('close', () => {
      this.#closed = true;
      this.#wake?.();
    });
  }

  /** The next request that was not cancelled; undefined when the port is closed. */
  async request(): Promise<DecodeRequest | undefined> {
    // Receives messages that arrived during decoding: the next request may have been cancelled.
    await setImmediate();
    for (;;) {
      if (this.#closed) return undefined;
      const request = this.#requests.shift();
      if (!request) await this.#changed();
      else if (request.job > this.#cancelledUpTo) return request;
    }
  }

  sink({ job }: DecodeRequest) {
    return {
      send: (event: PieceEvent) => {
        const message: FromWorker = { job, event };
        this.#port.postMessage(message, event.kind === 'data' ? [event.buffer] : []);
      },
      giveBack: (buffer: ArrayBuffer) => void this.#buffers.push(buffer),
      buffer: async () => {
        for (;;) {
          if (this.#closed || job <= this.#cancelledUpTo) throw new CancelledError();
          const free = this.#buffers.pop();
          if (free) return free;
          if (this.#unmade > 0) {
            this.#unmade--;
            return new ArrayBuffer(bufferBytes);
          }
          await this.#changed();
        }
      },
    };
  }

  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }
}
