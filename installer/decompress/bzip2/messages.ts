import type { PieceEvent } from './piece.ts';

/** A decoder: a thread, or an object that answers `ToWorker` with `FromWorker` messages. */
export interface DecodingWorker {
  postMessage(message: ToWorker, transfer: readonly ArrayBuffer[]): void;
  on(event: 'message', listener: (message: FromWorker) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'exit', listener: (code: number) => void): unknown;
  terminate(): Promise<unknown>;
}

/** Settings of a worker. */
export interface WorkerSettings {
  readonly kernel: 'wasm' | 'typescript';
  readonly lanes: number;
  /** Maximum compressed bytes of a piece and its overlap, unless a block is longer. */
  readonly inputBytes: number;
  /** Buffers of decoded bytes that the worker may fill before the reader returns one. */
  readonly buffers: number;
}

export interface DecodeRequest {
  readonly kind: 'decode';
  readonly job: number;
  /** Shared memory with the piece and its overlap, and their sizes. */
  readonly parts: readonly { readonly memory: SharedArrayBuffer; readonly lengthBytes: number }[];
  readonly start: number | 'search';
  readonly endBit: number;
  readonly last: boolean;
}

export type ToWorker =
  | DecodeRequest
  /** Jobs up to this one are cancelled. */
  | { readonly kind: 'cancel'; readonly upTo: number }
  | { readonly kind: 'buffer'; readonly buffer: ArrayBuffer };

export interface FromWorker {
  readonly job: number;
  readonly event: PieceEvent;
}
