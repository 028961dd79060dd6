import { spawn } from 'node:child_process';
import { once } from 'node:events';

/**
 * Waits until no other process holds the lock file, then holds it until disposed of. It is freed however this process ends:
 * the child that holds it ends when its input closes.
 */
export async function lock(path: string, signal: AbortSignal): Promise<AsyncDisposable> {
  const holder = spawn('flock', [path, 'sh', '-c', 'echo held; exec cat'], {
    stdio: ['pipe', 'pipe', 'inherit'],
    signal,
  });
  const exited = once(holder, 'exit');
  await Promise.race([
    once(holder.stdout, 'data'),
    exited.then(() => {
      throw new Error(`cannot lock ${path}: flock ended`);
    }),
  ]);
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await exited;
    },
  };
}
