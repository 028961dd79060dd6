import type { PieceEvent } from './piece.ts';

/** What decodes: a thread, or whatever else answers `ToWorker` messages with `FromWorker` messages. */
export interface DecodingWorker {
  postMessage(message: ToWorker, transfer: readonly ArrayBuffer[]): void;
  on(event: 'message', listener: (message: FromWorker) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'exit', listener: (code: number) => void): unknown;
  terminate(): Promise<unknown>;
}

/** How a worker is set up. */
export interface WorkerSettings {
  readonly kernel: 'wasm' | 'typescript';
  readonly lanes: number;
  /** Most compressed bytes of a piece and what follows it, unless a block turns out to be longer. */
  readonly inputBytes: number;
  /** Buffers of decoded bytes the worker may fill before the reader gives one back. */
  readonly buffers: number;
}

export interface DecodeRequest {
  readonly kind: 'decode';
  readonly job: number;
  /** Shared memory that holds the piece and what follows it, and how much of each is filled. */
  readonly parts: readonly { readonly memory: SharedArrayBuffer; readonly lengthBytes: number }[];
  readonly start: number | 'search';
  readonly endBit: number;
  readonly last: boolean;
}

export type ToWorker =
  | DecodeRequest
  /** Jobs up to this one are no longer wanted. */
  | { readonly kind: 'cancel'; readonly upTo: number }
  | { readonly kind: 'buffer'; readonly buffer: ArrayBuffer };

export interface FromWorker {
  readonly job: number;
  readonly event: PieceEvent;
}
