import { once } from 'node:events';
import { execa } from 'execa';
import { runTool } from './run-tool.ts';

export interface FileLockOptions {
  /** Called when another process has the lock. */
  readonly onWait?: () => void;
  /** Ends the wait. The lock itself ends by disposal only. */
  readonly signal?: AbortSignal;
}

/**
 * Waits for a lock that one process of the machine has at a time. It ends with the process that has
 * it, however that ends.
 * @param path file that stands for the lock; it is made, and stays
 * @throws {Error} flock fails; the reason of the signal
 */
export async function lockFile(
  path: string,
  { onWait = () => {}, signal }: FileLockOptions = {},
): Promise<AsyncDisposable> {
  const attempt = await runTool('flock', ['--nonblock', path, 'true'], { acceptedExitCodes: [0, 1], signal });
  if (attempt.exitCode !== 0) onWait();
  // A process holds the lock and exits at the end of its standard input.
  const holder = execa('flock', [path, 'sh', '-c', 'echo; cat'], { stdin: 'pipe', buffer: false });
  try {
    await Promise.race([
      once(holder.stdout, 'data', { signal }),
      holder.then(() => Promise.reject(new Error(`cannot lock ${path}`))),
    ]);
  } catch (error) {
    holder.kill();
    holder.stdin.end(); // if it got the lock meanwhile
    await holder.catch(() => {});
    signal?.throwIfAborted();
    throw error;
  }
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await holder;
    },
  };
}
