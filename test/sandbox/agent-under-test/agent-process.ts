import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { patienceSeconds } from '../patience.ts';
import { agentCommand, agentEnvironment } from './agent-command.ts';

export interface AgentProcessOptions {
  /** Program and first parameters. Default: `tink-worker` from its sources. */
  readonly command?: readonly string[];
  readonly flags?: readonly string[];
  /** See {@link agentEnvironment}. */
  readonly environment?: Readonly<Record<string, string>>;
  /**
   * Takes standard output, and may leave it unread. A promise is settled when it has read
   * everything; the end of the agent waits for it. Default: its lines are in the output.
   */
  readonly read?: ((stdout: Readable) => unknown) | undefined;
}

/**
 * An agent that runs as a program; `agent-machine.ts` runs the loop in the process of the test.
 * Disposal kills it.
 */
export interface AgentProcess extends AsyncDisposable {
  readonly process: ChildProcess;
  /** Lines of standard output and standard error. */
  readonly output: readonly string[];
  /**
   * Waits until a line of the output matches.
   *
   * @throws {AssertionError} the agent ended before, or {@link patienceSeconds} have passed
   */
  logged(pattern: RegExp): Promise<void>;
  /**
   * Sends a signal, and waits for the end of the process.
   *
   * @returns its exit code; `null` after SIGKILL
   */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

export function startAgentProcess(options: AgentProcessOptions): AgentProcess {
  const { command = agentCommand('tink-worker'), flags = [], environment, read } = options;
  const [program = '', ...parameters] = [...command, ...flags];
  const child = spawn(program, parameters, {
    env: agentEnvironment(program, environment),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let isOver = false;
  const reading = read?.(child.stdout);
  // Standard output that is not read never closes.
  const over = once(child, read === undefined ? 'close' : 'exit').then(async () => {
    await reading;
    isOver = true;
  });
  const output: string[] = [];
  const changes = new EventTarget();
  for (const stream of read === undefined ? [child.stdout, child.stderr] : [child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      output.push(line);
      changes.dispatchEvent(new Event('line'));
    });
  }
  async function end(signal: NodeJS.Signals): Promise<number | null> {
    child.kill(signal);
    await over;
    return child.exitCode;
  }

  return {
    process: child,
    output,
    end,
    async logged(pattern) {
      const timeout = AbortSignal.timeout(patienceSeconds * 1000);
      while (!output.some((line) => pattern.test(line))) {
        if (isOver || timeout.aborted) assert.fail(`no line of the agent matches ${pattern}:\n${output.join('\n')}`);
        await Promise.race([once(changes, 'line', { signal: timeout }).catch(() => {}), over]);
      }
    },
    async [Symbol.asyncDispose]() {
      await end('SIGKILL');
    },
  };
}
