import type { Clock } from '../clock/clock.ts';
import { pollIntervalSeconds } from '../clock/poll-interval.ts';
import { retry } from '../clock/retry.ts';
import { systemClock } from '../clock/system.ts';
import { within } from '../clock/within.ts';
import { isSameFailure } from '../errors/same-failure.ts';
import type { Action, ActionName, Outcome } from './action/action.ts';
import type { Observe } from './action/observe.ts';
import type { EndedAction, Journal } from './journal.ts';
import { type Log, logFields, messageOf } from './log/log.ts';
import type { Redactor } from './log/redact.ts';
import type { Finish, Power } from './power/power.ts';
import type { Runtime } from './runtime/runtime.ts';
import type { Next, Transport } from './transport/transport.ts';
import { watchCancellation } from './watch.ts';

/** The ports of the agent, and how it behaves. */
export interface AgentDependencies {
  readonly transport: Transport;
  readonly runtime: Runtime;
  readonly journal: Journal;
  readonly power: Power;
  readonly log: Log;
  readonly redactor: Redactor;
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Takes events, for metrics and status. Default: none. */
  readonly observe?: Observe | undefined;
  /** What to do with an action that had started and whose result is unknown. */
  readonly interrupted: 'rerun' | 'fail';
  /** What to do when a workflow is done and acknowledged, and no other workflow waits. */
  readonly finish: 'none' | Finish;
  /** Minimum poll interval, plus up to two thirds of jitter. */
  readonly pollSeconds: number;
  /** Maximum back-off between two attempts at something that fails. */
  readonly maxBackoffSeconds: number;
}

type NextAction = Extract<Next, { kind: 'action' }>;
type Idle = Extract<Next, { kind: 'idle' }>;

/**
 * Executes workflows until the signal is aborted; then it stops a running action and returns.
 * Nothing else ends it: what fails is retried forever and logged once.
 *
 * 1. Report the results that the server has not acknowledged, before anything else: the server must
 *    know the state of the workflow. Only then remove the container of an action that ended: until
 *    the journal had the result, the container was its only record. The removal ends before the
 *    next action runs.
 * 2. Reboot if an action requested it; because of 1 that is safe now.
 * 3. Ask the server for the next action. If there is none, reboot or power off if that is pending,
 *    else wait for the poll interval; go to 1.
 * 4. Do not run an action again that has ended: report its result again (1), unless the server has
 *    acknowledged it a moment ago. That is so too if its workflow is over: on Kubernetes a late
 *    report of a start revives it. But an action that has not started is one of another workflow of
 *    that name.
 * 5. Record the start of the action in the journal. If an earlier agent was about to stop its
 *    container, remove that first: its exit code says nothing about the action.
 * 6. Report the start. If the server rejects it as obsolete, go to 1.
 * 7. Run the action. If it was interrupted and must not run twice, only wait for its container, if
 *    there is one. If the server cancels it, or the agent has to stop, record that and stop it.
 * 8. Record the result in the journal; 1 reports it.
 */
export async function runAgent(dependencies: AgentDependencies, signal: AbortSignal): Promise<void> {
  const agent = new Agent(dependencies, signal);
  try {
    for (;;) {
      await agent.reportEnds(); // 1
      await agent.restartIfRequested(); // 2
      const next = await agent.ask(); // 3
      if (next.kind === 'idle') await agent.idle(next);
      else if (agent.hasEnded(next))
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
 * Servers on Kubernetes answer from a cache that is some milliseconds old. For this time after an
 * acknowledgement the server may still name the acknowledged action as the next one.
 */
const cacheSeconds = 2;

class Agent {
  readonly #dependencies: AgentDependencies;
  readonly #signal: AbortSignal;
  readonly #clock: Clock;
  #idleReason: string | undefined;
  /** Actions whose results are in the journal and whose containers still exist. */
  readonly #toRelease: Action[] = [];
  #released: Promise<void> = Promise.resolve();
  /** The last acknowledged result, and when it was first acknowledged. */
  #acknowledged: { readonly workflowId: string; readonly id: string; readonly at: number } | undefined;

  constructor(dependencies: AgentDependencies, signal: AbortSignal) {
    this.#dependencies = dependencies;
    this.#signal = signal;
    this.#clock = dependencies.clock ?? systemClock;
  }

  async reportEnds(): Promise<void> {
    for (const ended of this.#dependencies.journal.pendingReports()) await this.#reportEnd(ended);
    const ended = this.#toRelease.splice(0);
    if (ended.length === 0) return;
    const releases = ended.map((action) => this.#dependencies.runtime.release(action));
    // Without a value: a value with all earlier ones in it would grow without limit.
    this.#released = Promise.all([this.#released, ...releases]).then(() => undefined);
  }

  /** Resolves when the containers of all reported actions are removed. */
  async released(): Promise<void> {
    await this.#released;
  }

  async restartIfRequested(): Promise<void> {
    if (await this.#dependencies.power.rebootRequested()) await this.#finish('reboot', 'an action requested it');
  }

  async ask(): Promise<Next> {
    const next = await this.#retryForever('ask the server for work', (signal) =>
      this.#dependencies.transport.next(signal),
    );
    this.#dependencies.observe?.({ kind: 'asked', answer: next.kind, reason: next.kind === 'idle' ? next.reason : '' });
    if (next.kind === 'idle' && next.mayContinue === true) return next;
    // Workflows that the server is done with are forgotten: a later one may have the same name.
    const current = next.kind === 'action' ? next.action.workflowId : undefined;
    await this.#dependencies.redactor.forgetWorkflows(current);
    await this.#retryForever('compact the journal', () => this.#dependencies.journal.compact(current));
    return next;
  }

  async idle({ reason, mayContinue = false }: Idle): Promise<void> {
    const { journal, finish, log } = this.#dependencies;
    await this.released();
    if (reason !== this.#idleReason) log.info(`idle: ${reason}`);
    this.#idleReason = reason;
    if (journal.powerActionPending() && !mayContinue) {
      if (finish === 'none') await this.#retryForever('record that the work is done', () => journal.clearPowerAction());
      else await this.#finish(finish, 'the workflow is done, and the server has acknowledged it');
    }
    await this.#waitForPoll();
  }

  hasEnded({ action, alreadyStarted, isUnique = false }: NextAction): boolean {
    const state = this.#dependencies.journal.stateOf(action);
    return state.kind === 'ended' && (!state.isSettled || alreadyStarted || isUnique);
  }

  /** Makes the result of an action one that is still to be reported. */
  async reopen(action: Action): Promise<void> {
    const { journal, log } = this.#dependencies;
    const history = journal.stateOf(action);
    if (history.kind !== 'ended') return;
    const age = this.#sinceAcknowledged(action);
    if (age < cacheSeconds) {
      // As long again: the next poll comes soon, and there are few of them.
      await this.#clock.wait(Math.max(age, 0.02), this.#signal);
      return;
    }
    log.warn(
      logFields(action),
      `the server requests an action that has ended (${history.outcome.verdict}); reporting its result again`,
    );
    await this.#retryForever('record an end', () => journal.ended(action, history.outcome));
    // A server that keeps naming the action must not be polled in a tight loop.
    await this.#waitForPoll();
  }

  /** In seconds; infinite for any action but the last acknowledged one. */
  #sinceAcknowledged({ workflowId, id }: Action): number {
    const last = this.#acknowledged;
    if (last?.workflowId !== workflowId || last.id !== id) return Number.POSITIVE_INFINITY;
    return this.#clock.monotonicSeconds() - last.at;
  }

  async work(next: NextAction): Promise<void> {
    const { journal, runtime, redactor, interrupted, log, observe } = this.#dependencies;
    const { action } = next;
    this.#idleReason = undefined;
    await redactor.learnEnvironment(action.environment, action.workflowId);
    const state = journal.stateOf(action);
    if (state.kind === 'ended') await this.#retryForever('forget a workflow', () => journal.forget(action.workflowId));
    const wasInterrupted = next.alreadyStarted || state.kind === 'started';
    const wasStopped = state.kind === 'started' && state.wasStopped;
    const startedAt = this.#clock.now();

    if (wasStopped)
      await this.#retryForever('remove the container of a stopped action', (signal) => runtime.discard(action, signal));
    await this.#retryForever('record the start of an action', () => journal.started(action, startedAt));
    if (!(await this.#reportStart(action, startedAt))) return;
    observe?.({ kind: 'begun', action: nameOf(action), image: action.image, at: startedAt });
    if (wasInterrupted)
      log.warn(logFields(action), `the action was interrupted, and its result is unknown; policy: ${interrupted}`);
    const mayStart = !wasInterrupted || interrupted === 'rerun';
    const outcome = await this.#run(action, startedAt, mayStart, () => notRunAgain(wasStopped, startedAt));
    const { verdict, message } = outcome;
    observe?.({
      kind: 'ended',
      action: nameOf(action),
      verdict,
      message,
      seconds: this.#secondsSince(outcome.startedAt),
    });
    await this.#retryForever('record the end of an action', () => journal.ended(action, outcome));
    this.#toRelease.push(action);
  }

  /** False: the server rejected the start as obsolete. */
  async #reportStart(action: Action, at: Date): Promise<boolean> {
    const { journal, transport, log } = this.#dependencies;
    const answer = await this.#retryForever('report the start of an action', (signal) =>
      transport.report({ kind: 'started', action, at }, signal),
    );
    if (answer.kind === 'acknowledged') return true;
    log.warn(logFields(action), `the action is not run: ${answer.reason}`);
    await this.#retryForever('forget a workflow', () => journal.forget(action.workflowId));
    await this.#waitForPoll();
    return false;
  }

  async #run(action: Action, startedAt: Date, mayStart: boolean, whenGone: () => Outcome): Promise<Outcome> {
    const { runtime, log, redactor } = this.#dependencies;
    await this.released();
    log.info(logFields(action), `the action starts: image ${action.image}, workflow ${action.workflowId}`);
    await using watch = watchCancellation(action, { ...this.#dependencies, clock: this.#clock, signal: this.#signal });
    const signal = AbortSignal.any([this.#signal, watch.signal]);
    const beforeStop = () => this.#recordStop(action);
    const attempt = async () =>
      mayStart
        ? await runtime.run(action, signal, beforeStop)
        : ((await runtime.resume(action, signal, beforeStop)) ?? whenGone());
    const outcome = await attempt().catch((error: unknown): Outcome => {
      this.#signal.throwIfAborted();
      const why = watch.signal.aborted ? 'stopped' : 'the agent failed';
      return { verdict: 'FAILED', message: `${why}: ${messageOf(error)}`, startedAt, endedAt: this.#clock.now() };
    });
    const level = outcome.verdict === 'SUCCESS' ? 'info' : 'error';
    log[level](logFields(action), `the action ended: ${outcome.verdict}: ${outcome.message}`);
    return { ...outcome, message: redactor.redact(outcome.message) };
  }

  /**
   * If this agent is killed while its container stops, the next one must not take the exit code for
   * the result of the action. A disk that fails does not keep the agent from stopping for long.
   */
  async #recordStop(action: Action): Promise<void> {
    const { journal, log } = this.#dependencies;
    let reason: unknown;
    const attempt = (signal: AbortSignal) =>
      retry(() => journal.stopping(action), {
        ...{ clock: this.#clock, signal, initialSeconds: 0.1, maxSeconds: 1 },
        onFailure: (error) => {
          reason = error;
        },
      });
    try {
      const limit = { seconds: 5, awaited: 'record in the journal' };
      await within(this.#clock, limit, new AbortController().signal, attempt);
    } catch (error) {
      log.warn(logFields(action), `cannot record that the action is stopped: ${messageOf(reason ?? error)}`);
    }
  }

  async #reportEnd({ action, outcome }: EndedAction): Promise<void> {
    const { journal, transport, log, observe } = this.#dependencies;
    const answer = await this.#retryForever('report the end of an action', (signal) =>
      transport.report({ kind: 'ended', action, outcome }, signal),
    );
    if (answer.kind === 'acknowledged') {
      if (this.#sinceAcknowledged(action) === Number.POSITIVE_INFINITY)
        this.#acknowledged = { workflowId: action.workflowId, id: action.id, at: this.#clock.monotonicSeconds() };
      log.info(
        logFields(action),
        `the server has acknowledged ${outcome.verdict}${answer.workflowDone === true ? '; the workflow is done' : ''}`,
      );
      const [seconds, done] = [this.#secondsSince(outcome.endedAt), answer.workflowDone === true];
      observe?.({ kind: 'acknowledged', action: nameOf(action), seconds, done });
      await this.#retryForever('record an acknowledgement', () =>
        journal.acknowledged(action, answer.workflowDone !== false),
      );
    } else {
      log.warn(
        logFields(action),
        `the server rejected the result of the action (${outcome.verdict}) as obsolete: ${answer.reason}`,
      );
      // A new workflow of the same name must start from its first action.
      await this.#retryForever('forget a workflow', () => journal.forget(action.workflowId));
    }
  }

  async #finish(how: Finish, why: string): Promise<void> {
    const { journal, power, log } = this.#dependencies;
    log.info(`${how}: ${why}`);
    await this.released();
    // Recorded first: a journal that survives the machine must not make it reboot again and again.
    await this.#retryForever('record that the work is done', () => journal.clearPowerAction());
    try {
      await power.finish(how, this.#signal);
    } catch (error) {
      this.#signal.throwIfAborted();
      log.error(messageOf(error));
    }
  }

  /** Retries until an attempt succeeds. Logs a failure when its reason changes, and its end. */
  async #retryForever<T>(task: string, attempt: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { log, observe, maxBackoffSeconds } = this.#dependencies;
    let trouble: string | undefined;
    let attempts = 1;
    const begin = this.#clock.monotonicSeconds();
    const result = await retry(attempt, {
      clock: this.#clock,
      signal: this.#signal,
      initialSeconds: 0.5,
      maxSeconds: maxBackoffSeconds,
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

  /** Not negative: the clock may have been set meanwhile. */
  #secondsSince(time: Date): number {
    return Math.max(0, (this.#clock.now().getTime() - time.getTime()) / 1000);
  }
}

/** Never the action itself: its environment may hold secrets. */
function nameOf({ workflowId, taskName, name, id }: Action): ActionName {
  return { workflowId, taskName, name, id };
}

function notRunAgain(wasStopped: boolean, at: Date): Outcome {
  const message = wasStopped
    ? 'interrupted: the agent had to stop and stopped the action, and interrupted actions do not run again'
    : 'interrupted: the agent or the machine stopped while the action ran, and interrupted actions do not run again';
  return { verdict: 'FAILED', message, startedAt: at, endedAt: at };
}
