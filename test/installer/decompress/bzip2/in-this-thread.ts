import { MessageChannel } from 'node:worker_threads';
import type { Kernel } from '../../../../installer/decompress/bzip2/kernel.ts';
import { serve } from '../../../../installer/decompress/bzip2/serve.ts';
import { typescriptKernel } from '../../../../installer/decompress/bzip2/typescript-kernel.ts';
import { wasmKernel } from '../../../../installer/decompress/bzip2/wasm-kernel.ts';
import type { WorkerSettings } from '../../../../installer/decompress/bzip2/worker-settings.ts';
import type { DecodingWorker } from '../../../../installer/decompress/threads/messages.ts';

const kernels = new Map<string, Kernel[]>();

/**
 * Decodes in the thread of the test, by the code that otherwise runs in a worker thread and over
 * the same messages: starting a thread for each of many small files would take most of the time.
 * Kernels are used again, as a thread does.
 */
export function inThisThread(settings: WorkerSettings): DecodingWorker {
  const { port1, port2 } = new MessageChannel();
  const create = settings.kernel === 'wasm' ? wasmKernel : typescriptKernel;
  const free = kernels.get(settings.kernel) ?? [];
  kernels.set(settings.kernel, free);
  let kernel = free.pop();
  const served = serve(
    port2,
    (lanes, inputBytes) => {
      if (!kernel || kernel.input.length < inputBytes) kernel = create(lanes, inputBytes);
      return kernel;
    },
    settings,
  );
  return {
    postMessage: (message, transfer) => port1.postMessage(message, [...transfer]),
    on(event: string, listener: (value: never) => void) {
      if (event === 'message') port1.on('message', listener as (message: unknown) => void);
      if (event === 'error') served.catch(listener as (error: Error) => void);
    },
    async terminate() {
      port1.close();
      await served;
      if (kernel) free.push(kernel);
    },
  };
}
