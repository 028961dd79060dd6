import { once } from 'node:events';
import { execa } from 'execa';
import { runTool } from './run-tool.ts';

/**
 * Waits for a lock that one process of the machine has at a time. It ends with the process that has
 * it, however that ends.
 * @param path file that stands for the lock; it is made, and stays
 * @param onWait called when another process has it
 */
export async function lockFile(path: string, onWait: () => void): Promise<AsyncDisposable> {
  const attempt = await runTool('flock', ['--nonblock', path, 'true'], { acceptedExitCodes: [0, 1] });
  if (attempt.exitCode !== 0) onWait();
  // A process holds the lock and exits at the end of its standard input.
  const holder = execa('flock', [path, 'sh', '-c', 'echo locked; exec cat'], { stdin: 'pipe', buffer: false });
  await Promise.race([
    once(holder.stdout, 'data'),
    holder.then(() => Promise.reject(new Error(`cannot lock ${path}`))),
  ]);
  return {
    async [Symbol.asyncDispose]() {
      holder.stdin.end();
      await holder;
    },
  };
}
