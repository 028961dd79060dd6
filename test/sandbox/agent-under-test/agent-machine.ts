import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Action, Outcome } from '../../../agent/action/action.ts';
import { type AgentDependencies, runAgent } from '../../../agent/agent.ts';
import { type Journal, openJournal } from '../../../agent/journal.ts';
import { createLog, type Log } from '../../../agent/log/log.ts';
import { createRedactor, type Redactor } from '../../../agent/log/redact.ts';
import { type Power, PowerError } from '../../../agent/power/power.ts';
import type { Runtime } from '../../../agent/runtime/runtime.ts';
import { createServerTransport, type ServerTransportOptions } from '../../../agent/transport/grpc/server.ts';
import type { Transport } from '../../../agent/transport/transport.ts';
import { patienceSeconds } from '../patience.ts';

/** What an action does in a test; what is missing of its outcome is that of a success. */
export type RunAction = (action: Action, signal: AbortSignal) => Promise<Partial<Outcome>> | Partial<Outcome>;

/** What the harness makes first, for what a test makes itself. */
export interface AgentBasics {
  readonly journal: Journal;
  readonly log: Log;
  readonly redactor: Redactor;
}

/**
 * What a test sets of its agent. Defaults: interrupted actions run again, nothing follows a
 * finished workflow, 0.05 s between polls, at most 0.1 s between attempts, the system's clock.
 */
export interface AgentParts extends Partial<Omit<AgentDependencies, 'transport' | 'runtime' | 'journal' | 'power'>> {
  /** Makes the transport, which is closed when the agent has stopped. */
  readonly connect: (basics: AgentBasics) => Transport;
  /**
   * Makes the runtime, which is closed when the agent has stopped, if it can be. Default: one that
   * calls {@link AgentMachine.runAction}.
   */
  readonly runtime?: (basics: AgentBasics) => Runtime & Partial<AsyncDisposable>;
  /** Default: one that records a reboot in {@link AgentMachine.happened} and fails. */
  readonly power?: (basics: AgentBasics) => Power;
  /** Default: the real journal, unchanged. */
  readonly wrapJournal?: (journal: Journal) => Journal;
}

export interface AgentMachineOptions extends AgentParts {
  /**
   * Holds the journal in `state`, and what the test puts there. Default: a new one, deleted at the
   * end.
   */
  readonly directory?: string;
  /** Sets {@link AgentMachine.runAction}. */
  readonly runAction?: RunAction | undefined;
}

/**
 * A machine on which one agent after another runs, in the process of the test. Real: the loop, the
 * journal, the log, and the transport that the test makes. What stays in {@link stateDirectory}
 * when an agent stops is what a killed one leaves: nothing is written on the way out.
 *
 * Replaced, unless the test gives its own:
 * - the container engine, by {@link runAction}: there is no image and no container, so that an
 *   interrupted action cannot be resumed and nothing is left to release;
 * - the power supply: a reboot is recorded in {@link happened} and fails, and the agent goes on.
 *
 * `agent-process.ts` starts the agent as a program, with its settings, signals and exit codes.
 */
export class AgentMachine implements AsyncDisposable {
  readonly directory: string;
  readonly stateDirectory: string;
  /** In order: `run wipe`, `reboot`, and what the test adds with {@link record}. */
  readonly happened: string[] = [];
  /** All that {@link runAction} ran. */
  readonly actions: Action[] = [];
  /** Lines of all agents: time, level, message. */
  readonly log: string[] = [];
  /** Default: the action succeeds at once. */
  runAction: RunAction;
  /** Called with each line of the log when it is written. */
  onLine: (line: string) => void = () => {};
  /** Whether an action has asked for a reboot; a reboot clears it. */
  rebootRequested = false;
  readonly #parts: AgentParts;
  readonly #isOwnDirectory: boolean;
  readonly #changes = new EventTarget();
  #agent: { readonly stop: AbortController; readonly done: Promise<void> } | undefined;

  constructor({ directory, runAction, ...parts }: AgentMachineOptions) {
    this.directory = directory ?? mkdtempSync(join(tmpdir(), 'nibs-agent-'));
    this.stateDirectory = join(this.directory, 'state');
    this.#isOwnDirectory = directory === undefined;
    this.#parts = parts;
    this.runAction = runAction ?? (() => ({}));
  }

  /** One whose agents ask this server, unless the parts say otherwise. */
  static forServer(server: ServerTransportOptions, options: Partial<AgentMachineOptions> = {}): AgentMachine {
    return new AgentMachine({ connect: () => createServerTransport(server), ...options });
  }

  /**
   * Starts an agent.
   *
   * @param changes to the parts that the machine was created with
   * @throws {JournalError} the journal cannot be opened
   */
  async start(changes: Partial<AgentParts> = {}): Promise<void> {
    assert.equal(this.#agent, undefined, 'an agent runs already');
    const { connect, runtime, power, wrapJournal, ...rest } = { ...this.#parts, ...changes };
    await using opened = new AsyncDisposableStack();
    const redactor = rest.redactor ?? createRedactor();
    const write = (line: string) => this.#writeLine(line.trimEnd());
    const log = rest.log ?? createLog({ level: 'info', format: 'text', redactor, write });
    const journal = opened.use(await openJournal(this.stateDirectory, (message) => assert.fail(message)));
    const basics = { journal: wrapJournal?.(journal) ?? journal, log, redactor };
    const engine: Runtime & Partial<AsyncDisposable> = runtime?.(basics) ?? this.#runtime();
    opened.defer(async () => engine[Symbol.asyncDispose]?.());
    const dependencies: AgentDependencies = {
      ...basics,
      transport: opened.use(connect(basics)),
      runtime: engine,
      power: power?.(basics) ?? this.#power(),
      ...{ interrupted: 'rerun', finish: 'none', pollSeconds: 0.05, maxBackoffSeconds: 0.1 },
      ...rest,
    };
    const toClose = opened.move();
    const stop = new AbortController();
    const done = runAgent(dependencies, stop.signal).finally(() => toClose.disposeAsync());
    this.#agent = { stop, done };
  }

  /** Stops the agent, if one runs, as SIGTERM does. */
  async stop(): Promise<void> {
    const agent = this.#agent;
    this.#agent = undefined;
    agent?.stop.abort(new Error('it received SIGTERM'));
    await agent?.done;
  }

  /** Names of the actions that {@link runAction} ran, in order. */
  ran(): string[] {
    return this.actions.map(({ name }) => name);
  }

  /** Adds to {@link happened}. */
  record(what: string): void {
    this.happened.push(what);
    this.#changes.dispatchEvent(new Event('change'));
  }

  /**
   * Waits until a line of the log, of whichever agent, matches.
   *
   * @returns the first such line, without its time and level
   */
  async logged(pattern: RegExp): Promise<string> {
    const find = () => this.log.find((line) => pattern.test(line));
    await this.until(() => find() !== undefined, `a line with ${pattern}`);
    return (find() ?? '').replace(/^\S+ \w+ +/, '');
  }

  /**
   * Waits for a condition on {@link happened} or {@link log}; it is checked when they change.
   *
   * @param what the condition in words, as an object of "waited for"
   * @throws {AssertionError} it did not become true in time
   */
  async until(condition: () => boolean, what: string, timeoutSeconds = patienceSeconds): Promise<void> {
    const signal = AbortSignal.timeout(timeoutSeconds * 1000);
    while (!condition()) {
      await once(this.#changes, 'change', { signal }).catch(() =>
        assert.fail(
          `waited ${timeoutSeconds} s for ${what}; happened: ${this.happened.join()}\n${this.log.join('\n')}`,
        ),
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    if (this.#isOwnDirectory) await rm(this.directory, { recursive: true });
  }

  #writeLine(line: string): void {
    this.log.push(line);
    this.onLine(line);
    this.#changes.dispatchEvent(new Event('change'));
  }

  #runtime(): Runtime {
    return {
      run: async (action, signal) => {
        this.actions.push(action);
        this.record(`run ${action.name}`);
        const startedAt = new Date();
        const outcome = await this.runAction(action, signal);
        signal.throwIfAborted();
        return { verdict: 'SUCCESS', message: 'exit code 0', startedAt, endedAt: new Date(), ...outcome };
      },
      resume: async () => undefined,
      discard: async () => {},
      release: async () => {},
    };
  }

  #power(): Power {
    return {
      rebootRequested: async () => this.rebootRequested,
      finish: async (how) => {
        this.rebootRequested = false;
        this.record(how);
        throw new PowerError({ what: how, target: 'the machine', why: 'this machine stays up' });
      },
    };
  }
}
