import { Worker } from 'node:worker_threads';
import type { DecodingWorker, WorkerSettings } from './messages.ts';

/** Starts a decoding thread. In a bundle, `esbuild-plugin.ts` puts a module in this one's place that carries the thread's code as text. */
export function startWorker(workerData: WorkerSettings): DecodingWorker {
  return new Worker(new URL('./worker.ts', import.meta.url), { workerData });
}
