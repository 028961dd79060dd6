/** Settings of a worker. */
export interface WorkerSettings {
  readonly kernel: 'wasm' | 'typescript';
  readonly lanes: number;
  /** Maximum compressed bytes of a piece and its overlap, unless a block is longer. */
  readonly inputBytes: number;
  /** Buffers of decoded bytes that the worker may fill before the reader returns one. */
  readonly buffers: number;
}
