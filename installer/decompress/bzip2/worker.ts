import { parentPort, workerData } from 'node:worker_threads';
import { serve } from './serve.ts';
import { typescriptKernel } from './typescript-kernel.ts';
import { wasmKernel } from './wasm-kernel.ts';
import type { WorkerSettings } from './worker-settings.ts';

// The thread that `start-worker.ts` starts.

if (!parentPort) throw new Error('this module runs in a worker thread only');
const settings = workerData as WorkerSettings;
void serve(parentPort, settings.kernel === 'wasm' ? wasmKernel : typescriptKernel, settings);
