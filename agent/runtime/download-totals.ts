import type { PullProgress } from './engine.ts';

/** Bytes of an image that were downloaded so far. */
export interface DownloadProgress {
  readonly doneBytes: number;
  /** Sum of the layers whose size is known so far; more than 0. */
  readonly totalBytes: number;
}

/**
 * Adds up the downloads of an image's layers. Only they count: unpacking goes through the same
 * bytes again. Layers of unknown size are left out.
 */
export class DownloadTotals {
  readonly #layers = new Map<string, DownloadProgress>();

  add(progress: PullProgress): void {
    if (progress.phase === 'downloading') {
      const { layer, doneBytes } = progress;
      const totalBytes = progress.totalBytes || (this.#layers.get(layer)?.totalBytes ?? 0);
      this.#layers.set(layer, { doneBytes, totalBytes: Math.max(totalBytes, doneBytes) });
    } else if (progress.phase === 'downloaded') {
      // Podman names no size of a layer that comes within a second.
      const { totalBytes = 0 } = this.#layers.get(progress.layer) ?? {};
      this.#layers.set(progress.layer, { doneBytes: totalBytes, totalBytes });
    }
  }

  /** `undefined`: nothing is known of the downloads. */
  sum(): DownloadProgress | undefined {
    const sumOf = (field: keyof DownloadProgress) =>
      [...this.#layers.values()].reduce((sum, layer) => sum + layer[field], 0);
    const totalBytes = sumOf('totalBytes');
    return totalBytes === 0 ? undefined : { doneBytes: sumOf('doneBytes'), totalBytes };
  }
}
