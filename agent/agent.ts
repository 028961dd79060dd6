import type { Clock } from '../clock/clock.ts';
import { pollIntervalSeconds } from '../clock/poll-interval.ts';
import { retry } from '../clock/retry.ts';
import { systemClock } from '../clock/system.ts';
import { isSameFailure } from '../errors/same-failure.ts';
import type { Action, ActionName, Outcome } from './action/action.ts';
import type { Observe } from './action/observe.ts';
import type { EndedAction, Journal } from './journal.ts';
import { factsOf, type Log, messageOf } from './log/log.ts';
import type { Redactor } from './log/redact.ts';
import type { Finish, Power } from './power/power.ts';
import type { Runtime } from './runtime/runtime.ts';
import type { Next, Transport } from './transport/transport.ts';
import { watchDemand } from './watch.ts';

/** What the agent works with and how it behaves. */
export interface AgentDependencies {
  readonly transport: Transport;
  readonly runtime: Runtime;
  readonly journal: Journal;
  readonly power: Power;
  readonly log: Log;
  readonly redactor: Redactor;
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Takes what happens, for metrics and status. Default: nobody does. */
  readonly observe?: Observe | undefined;
  /** What to do with an action that had started before and whose end is unknown. */
  readonly interrupted: 'rerun' | 'fail';
  /** What to do when a workflow is done, acknowledged, and no other one waits. */
  readonly finish: 'none' | Finish;
  /** Shortest wait between two questions for work; up to two thirds more are added at random. */
  readonly pollSeconds: number;
  /** Longest wait between two attempts at something that fails. */
  readonly maxBackoffSeconds: number;
}

type NextAction = Extract<Next, { kind: 'action' }>;
type Idle = Extract<Next, { kind: 'idle' }>;

/**
 * Works for the server until the signal is aborted; then a running action is stopped and the promise is fulfilled. Nothing else ends it: what fails is tried
 * again, for ever, and said once.
 *
 * 1. Ends that the server has not acknowledged are reported, before anything is asked of it: the server must know how far we are. The container of an
 *    action that ended is given up only now: until its end was recorded, it was the only thing that knew of it. That is waited for before the next one runs.
 * 2. If an action asked for a restart, the machine is restarted; that is safe now, because of 1.
 * 3. The server is asked for the next action. If there is none: the machine is finished when that is due, else we wait and go to 1.
 * 4. An action that ended already is not run again: its end is reported again, by 1, unless the server has only just acknowledged it.
 * 5. The journal records that the action starts.
 * 6. The start is reported. If nobody wants the action any more, we go to 1.
 * 7. The action is run. If it was interrupted and is not to be run twice, only what is left of it is waited for. If the server does not want it any more, it
 *    is stopped.
 * 8. The journal records its end, which is reported by 1.
 */
export async function runAgent(dependencies: AgentDependencies, signal: AbortSignal): Promise<void> {
  const agent = new Agent(dependencies, signal);
  try {
    for (;;) {
      await agent.reportEnds(); // 1
      await agent.restartIfRequested(); // 2
      const next = await agent.ask(); // 3
      if (next.kind === 'idle') await agent.idle(next);
      else if (agent.hasEnded(next.action))
        await agent.reopen(next.action); // 4
      else await agent.work(next); // 5 to 8
    }
  } catch (error) {
    await agent.released();
    if (!signal.aborted) throw error;
    dependencies.log.info(`the agent stops: ${messageOf(signal.reason)}`);
  }
}

/**
 * So long after an end was acknowledged the server may still ask for that action: servers on Kubernetes answer from a copy of their store, which follows it within
 * some milliseconds.
 */
const COPY_SECONDS = 2;

class Agent {
  readonly #dependencies: AgentDependencies;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  #idleReason: string | undefined;
  /** Actions that ended, as the journal knows, and of which the runtime keeps something. */
  readonly #toRelease: Action[] = [];
  #released: Promise<void> = Promise.resolve();
  /** The end that was acknowledged last, and when it first was. */
  #acknowledged: { readonly workflowId: string; readonly id: string; readonly at: number } | undefined;

  constructor(dependencies: AgentDependencies, signal: AbortSignal) {
    this.#dependencies = dependencies;
    this.#signal = signal;
    this.#clock = dependencies.clock ?? systemClock;
  }

  async reportEnds(): Promise<void> {
    for (const ended of this.#dependencies.journal.unsent()) await this.#reportEnd(ended);
    const ended = this.#toRelease.splice(0);
    if (ended.length === 0) return;
    const releases = ended.map((action) => this.#dependencies.runtime.release(action));
    // Without a result: one that had those before it in it would grow for as long as the agent lives.
    this.#released = Promise.all([this.#released, ...releases]).then(() => undefined);
  }

  /** Until nothing is left of actions whose end was reported. */
  async released(): Promise<void> {
    await this.#released;
  }

  async restartIfRequested(): Promise<void> {
    if (await this.#dependencies.power.rebootRequested()) await this.#finish('reboot', 'an action asked for it');
  }

  async ask(): Promise<Next> {
    const next = await this.#persist('ask the server for work', (signal) => this.#dependencies.transport.next(signal));
    this.#dependencies.observe?.({ kind: 'asked', answer: next.kind, reason: next.kind === 'idle' ? next.reason : '' });
    if (next.kind === 'idle' && next.unfinished === true) return next;
    // Whatever the server is done with is history: a later workflow may bear the name of an earlier one.
    const current = next.kind === 'action' ? next.action.workflowId : undefined;
    await this.#persist('settle the journal', () => this.#dependencies.journal.settle(current));
    return next;
  }

  async idle({ reason, unfinished = false }: Idle): Promise<void> {
    const { journal, finish, log } = this.#dependencies;
    await this.released();
    if (reason !== this.#idleReason) log.info(`nothing to do: ${reason}`);
    this.#idleReason = reason;
    if (journal.finishDue() && !unfinished) {
      if (finish === 'none') await this.#persist('record that the work is done', () => journal.finished());
      else await this.#finish(finish, 'the workflow is done and the server knows it');
    }
    await this.#waitForPoll();
  }

  hasEnded(action: Action): boolean {
    return this.#dependencies.journal.historyOf(action).kind === 'ended';
  }

  /** Makes the known end of an action one that is to be reported. */
  async reopen(action: Action): Promise<void> {
    const { journal, log } = this.#dependencies;
    const history = journal.historyOf(action);
    if (history.kind !== 'ended') return;
    const age = this.#sinceAcknowledged(action);
    if (age < COPY_SECONDS) {
      // As long again: the next question comes soon, and few of them come.
      await this.#clock.wait(Math.max(age, 0.02), this.#signal);
      return;
    }
    log.warn(
      factsOf(action),
      `the server asks for an action that ended (${history.outcome.verdict}); its end is reported again`,
    );
    await this.#persist('record an end', () => journal.ended(action, history.outcome));
    // A server that does not learn from that must not be asked in a tight loop.
    await this.#waitForPoll();
  }

  /** In seconds; infinite for any action but the one whose end was acknowledged last. */
  #sinceAcknowledged({ workflowId, id }: Action): number {
    const last = this.#acknowledged;
    if (last?.workflowId !== workflowId || last.id !== id) return Number.POSITIVE_INFINITY;
    return this.#clock.monotonicSeconds() - last.at;
  }

  async work(next: NextAction): Promise<void> {
    const { journal, redactor, interrupted, log, observe } = this.#dependencies;
    const { action } = next;
    this.#idleReason = undefined;
    redactor.learnEnvironment(action.environment);
    const wasInterrupted = next.startedBefore || journal.historyOf(action).kind === 'started';
    const startedAt = this.#clock.now();

    await this.#persist('record the start of an action', () => journal.started(action, startedAt));
    if (!(await this.#reportStart(action, startedAt))) return;
    observe?.({ kind: 'begun', action: nameOf(action), image: action.image, at: startedAt });
    if (wasInterrupted)
      log.warn(factsOf(action), `the action had started before, and its end is unknown; policy: ${interrupted}`);
    const outcome = await this.#run(action, startedAt, !wasInterrupted || interrupted === 'rerun');
    const { verdict, message } = outcome;
    observe?.({
      kind: 'ended',
      action: nameOf(action),
      verdict,
      message,
      seconds: this.#secondsSince(outcome.startedAt),
    });
    await this.#persist('record the end of an action', () => journal.ended(action, outcome));
    this.#toRelease.push(action);
  }

  /** False: nobody wants the action any more. */
  async #reportStart(action: Action, at: Date): Promise<boolean> {
    const { journal, transport, log } = this.#dependencies;
    const answer = await this.#persist('report the start of an action', (signal) =>
      transport.report({ kind: 'started', action, at }, signal),
    );
    if (answer.kind === 'acknowledged') return true;
    log.warn(factsOf(action), `the action is not run: ${answer.reason}`);
    await this.#persist('forget a workflow', () => journal.forget(action.workflowId));
    await this.#waitForPoll();
    return false;
  }

  async #run(action: Action, startedAt: Date, mayStart: boolean): Promise<Outcome> {
    const { runtime, log, redactor } = this.#dependencies;
    await this.released();
    log.info(factsOf(action), `the action starts: image ${action.image}, workflow ${action.workflowId}`);
    await using watch = watchDemand(action, { ...this.#dependencies, clock: this.#clock, signal: this.#signal });
    const signal = AbortSignal.any([this.#signal, watch.signal]);
    const attempt = async () =>
      mayStart ? runtime.run(action, signal) : ((await runtime.resume(action, signal)) ?? notRunAgain(startedAt));
    const outcome = await attempt().catch((error: unknown): Outcome => {
      this.#signal.throwIfAborted();
      const why = watch.signal.aborted ? 'stopped' : 'the agent failed';
      return { verdict: 'FAILED', message: `${why}: ${messageOf(error)}`, startedAt, endedAt: this.#clock.now() };
    });
    const level = outcome.verdict === 'SUCCESS' ? 'info' : 'error';
    log[level](factsOf(action), `the action ended: ${outcome.verdict}: ${outcome.message}`);
    return { ...outcome, message: redactor.redact(outcome.message) };
  }

  async #reportEnd({ action, outcome }: EndedAction): Promise<void> {
    const { journal, transport, log, observe } = this.#dependencies;
    const answer = await this.#persist('report the end of an action', (signal) =>
      transport.report({ kind: 'ended', action, outcome }, signal),
    );
    if (answer.kind === 'acknowledged') {
      if (this.#sinceAcknowledged(action) === Number.POSITIVE_INFINITY)
        this.#acknowledged = { workflowId: action.workflowId, id: action.id, at: this.#clock.monotonicSeconds() };
      log.info(
        factsOf(action),
        `the server has acknowledged ${outcome.verdict}${answer.workflowDone === true ? '; the workflow is done' : ''}`,
      );
      const [seconds, done] = [this.#secondsSince(outcome.endedAt), answer.workflowDone === true];
      observe?.({ kind: 'acknowledged', action: nameOf(action), seconds, done });
      await this.#persist('record an acknowledgement', () =>
        journal.acknowledged(action, answer.workflowDone !== false),
      );
    } else {
      log.warn(factsOf(action), `the end of the action (${outcome.verdict}) is not wanted: ${answer.reason}`);
      // Should the server start over under the same name, that is new work.
      await this.#persist('forget a workflow', () => journal.forget(action.workflowId));
    }
  }

  async #finish(how: Finish, why: string): Promise<void> {
    const { journal, power, log } = this.#dependencies;
    log.info(`${how}: ${why}`);
    await this.released();
    // Recorded first: a journal that outlives the machine must not make it restart for ever.
    await this.#persist('record that the work is done', () => journal.finished());
    try {
      await power.finish(how, this.#signal);
    } catch (error) {
      this.#signal.throwIfAborted();
      log.error(messageOf(error));
    }
  }

  /** Tries until it works. Says what is wrong when that changes, and when it is over. */
  async #persist<T>(task: string, attempt: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { log, observe, maxBackoffSeconds } = this.#dependencies;
    let trouble: string | undefined;
    let attempts = 1;
    const begin = this.#clock.monotonicSeconds();
    const result = await retry(attempt, {
      clock: this.#clock,
      signal: this.#signal,
      initialSeconds: 0.5,
      maximumSeconds: maxBackoffSeconds,
      onFailure: (error) => {
        attempts += 1;
        const message = messageOf(error);
        if (!isSameFailure(message, trouble)) {
          log.warn(`cannot ${task}: ${message}; trying again`);
          observe?.({ kind: 'trouble', message: `cannot ${task}: ${message}` });
        }
        trouble = message;
      },
    });
    if (trouble !== undefined) {
      const seconds = Math.round(this.#clock.monotonicSeconds() - begin);
      log.info(`could ${task} again after ${seconds} s, at attempt ${attempts}`);
    }
    return result;
  }

  async #waitForPoll(): Promise<void> {
    await this.#clock.wait(pollIntervalSeconds(this.#clock, this.#dependencies.pollSeconds), this.#signal);
  }

  /** The clock may have been set meanwhile. */
  #secondsSince(time: Date): number {
    return Math.max(0, (this.#clock.now().getTime() - time.getTime()) / 1000);
  }
}

/** Never the action itself: its environment may hold secrets. */
function nameOf({ workflowId, taskName, name, id }: Action): ActionName {
  return { workflowId, taskName, name, id };
}

function notRunAgain(at: Date): Outcome {
  return {
    verdict: 'FAILED',
    message:
      'interrupted: the agent or the machine stopped while the action ran, and interrupted actions are not to be run again',
    startedAt: at,
    endedAt: at,
  };
}
