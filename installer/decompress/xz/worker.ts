import { parentPort, workerData } from 'node:worker_threads';
import { serve, type XzWorkerSettings } from './serve.ts';

// The thread that `start-worker.ts` starts.

if (!parentPort) throw new Error('this module runs in a worker thread only');
void serve(parentPort, workerData as XzWorkerSettings);
