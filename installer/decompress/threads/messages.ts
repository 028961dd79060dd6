import type { PieceEvent } from '../bzip2/piece.ts';

/** Size of each buffer for decoded bytes. */
export const bufferBytes = 1024 * 1024;

/** A decoder: a thread, or an object that answers `ToWorker` with `FromWorker` messages. */
export interface DecodingWorker {
  postMessage(message: ToWorker, transfer: readonly ArrayBuffer[]): void;
  on(event: 'message', listener: (message: FromWorker) => void): unknown;
  on(event: 'error', listener: (error: Error) => void): unknown;
  on(event: 'exit', listener: (code: number) => void): unknown;
  terminate(): Promise<unknown>;
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
