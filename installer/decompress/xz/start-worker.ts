import { Worker } from 'node:worker_threads';
import type { DecodingWorker } from '../threads/messages.ts';
import type { XzWorkerSettings } from './serve.ts';

/**
 * Starts a decoding thread. In a bundle, `esbuild-plugin.ts` replaces this module by one that
 * contains the code of the thread as text.
 */
export function startWorker(workerData: XzWorkerSettings): DecodingWorker {
  return new Worker(new URL('./worker.ts', import.meta.url), { workerData });
}
