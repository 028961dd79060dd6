import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { open, readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { patienceSeconds } from './patience.ts';

/** A server program that runs until it is stopped. */
export interface Daemon {
  /** Sends the signal and waits for the end of the process. */
  end(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
}

/** What to start, and how to know that it is ready. */
export interface DaemonOptions {
  readonly program: string;
  readonly parameters: readonly string[];
  /** File that both output streams are appended to. */
  readonly logPath: string;
  /** Throws for as long as the server does not answer. */
  readonly ask: () => Promise<unknown>;
}

/**
 * Starts a server and waits until it answers; otherwise throws with the last
 * lines of its log.
 */
export async function startDaemon({ program, parameters, logPath, ask }: DaemonOptions): Promise<Daemon> {
  await using log = await open(logPath, 'a');
  const running = spawn(program, parameters, { stdio: ['ignore', log.fd, log.fd] });
  const ended = once(running, 'exit');
  // A test that dies without cleaning up must not leave a server behind.
  const orphaned = () => void running.kill('SIGKILL');
  process.once('exit', orphaned);
  ended.finally(() => process.off('exit', orphaned));
  const end = async (signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM') => {
    running.kill(signal);
    await ended;
  };
  const deadline = Date.now() + patienceSeconds * 1000;
  for (;;) {
    try {
      await ask();
      return { end };
    } catch (cause) {
      if (running.exitCode !== null || running.signalCode !== null || Date.now() > deadline) {
        await end('SIGKILL');
        throw new Error(`${program} did not start: ${(await readFile(logPath, 'utf8')).slice(-4000)}`, { cause });
      }
      await delay(20);
    }
  }
}
