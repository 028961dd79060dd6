import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Action, Outcome } from '../../../agent/action/action.ts';
import { type AgentDependencies, runAgent } from '../../../agent/agent.ts';
import { type Journal, openJournal } from '../../../agent/journal.ts';
import { createLog } from '../../../agent/log/log.ts';
import { createRedactor } from '../../../agent/log/redact.ts';
import { type Finish, PowerError } from '../../../agent/power/power.ts';
import { createServerTransport, type ServerTransportOptions } from '../../../agent/transport/grpc/server.ts';
import type { Transport } from '../../../agent/transport/transport.ts';

/** What an action does on this machine. */
export type Run = (action: Action, signal: AbortSignal) => Promise<Partial<Outcome>> | Partial<Outcome>;

/**
 * A machine with an agent: the real loop, journal and transport. In place of a container engine it has a record: an action runs for no time and succeeds, unless
 * {@link run} says otherwise, leaves nothing behind, and stands in {@link happened}. In place of the power supply too: a restart is recorded and does not come.
 */
export class Machine implements AsyncDisposable {
  /** In order: `run wipe`, `reboot`. */
  readonly happened: string[] = [];
  /** All that was run. */
  readonly actions: Action[] = [];
  readonly log: string[] = [];
  run: Run = () => ({});
  readonly #options: ServerTransportOptions;
  readonly #stateDirectory: string;
  #agent: { stop: AbortController; done: Promise<void>; transport: Transport; journal: Journal } | undefined;

  private constructor(options: ServerTransportOptions, stateDirectory: string) {
    this.#options = options;
    this.#stateDirectory = stateDirectory;
  }

  static async build(options: ServerTransportOptions): Promise<Machine> {
    return new Machine(options, await mkdtemp(join(tmpdir(), 'nibs-conformance-')));
  }

  async start(parts: Partial<AgentDependencies> = {}): Promise<void> {
    const stop = new AbortController();
    const journal = await openJournal(this.#stateDirectory, (message) => assert.fail(message));
    const transport = createServerTransport(this.#options);
    const redactor = createRedactor();
    const done = runAgent(
      {
        transport,
        runtime: {
          run: (action, signal) => this.#run(action, signal),
          resume: async () => undefined,
          release: async () => {},
        },
        journal,
        power: { rebootRequested: async () => false, finish: async (how) => this.#finish(how) },
        log: createLog({ level: 'info', format: 'text', redactor, write: (line) => this.log.push(line) }),
        redactor,
        interrupted: 'rerun',
        finish: 'none',
        pollSeconds: 0.05,
        maxBackoffSeconds: 0.1,
        ...parts,
      },
      stop.signal,
    );
    this.#agent = { stop, done, transport, journal };
  }

  /** What the agent leaves is what a killed one leaves: nothing is written on the way out. */
  async stop(): Promise<void> {
    if (this.#agent === undefined) return;
    const { stop, done, transport, journal } = this.#agent;
    this.#agent = undefined;
    stop.abort(new Error('it received SIGTERM'));
    await done;
    await transport[Symbol.asyncDispose]();
    await journal[Symbol.asyncDispose]();
  }

  /** Names of the actions that were run, in order. */
  ran(): string[] {
    return this.actions.map(({ name }) => name);
  }

  /** Until the agent has said this. */
  async says(pattern: RegExp): Promise<void> {
    await until(() => this.log.some((line) => pattern.test(line)), `the agent to say ${pattern}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#stateDirectory, { recursive: true });
  }

  async #run(action: Action, signal: AbortSignal): Promise<Outcome> {
    this.happened.push(`run ${action.name}`);
    this.actions.push(action);
    const startedAt = new Date();
    const outcome = await this.run(action, signal);
    return { verdict: 'SUCCESS', message: 'exit code 0', startedAt, endedAt: new Date(), ...outcome };
  }

  #finish(how: Finish): never {
    this.happened.push(how);
    throw new PowerError({ what: 'reboot', target: 'the machine', why: 'this machine stays up' });
  }
}

/** Asks every 10 ms, for what has no event of its own. @throws after `timeoutSeconds` */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  timeoutSeconds = 60,
): Promise<void> {
  for (const deadline = performance.now() + timeoutSeconds * 1000; !(await condition()); ) {
    assert.ok(performance.now() < deadline, `waited ${timeoutSeconds} s in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}
