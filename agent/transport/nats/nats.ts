import type { Clock } from '../../../clock/clock.ts';
import { systemClock } from '../../../clock/system.ts';
import { reasonOf } from '../../../errors/reason.ts';
import type { Action, Event, Outcome } from '../../action/action.ts';
import { toMessage } from '../message.ts';
import type { Acknowledgement, CancelState, Next, Transport } from '../transport.ts';
import { idOfAttempt, type ListedAction, parseAttemptId } from './action-list.ts';
import { Bus, NatsOptionsError, type NatsTls, parseAddress } from './bus.ts';
import { maxListBytes, readList } from './read-list.ts';

export { NatsOptionsError };

export interface NatsOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /**
   * `host:port`, or `nats://[user[:password]@]host[:port]`, or `nats://token@host[:port]`; `tls://`
   * in place of `nats://` for TLS. Default port: 4222.
   */
  readonly server: string;
  /** Default: TLS if the address or the server wants it, with whom the machine trusts. */
  readonly tls?: NatsTls | undefined;
  /**
   * What all subjects begin with. Lists come on `<stream>.<worker>.<actions>`, events go to
   * `<stream>.<worker>.<events>`.
   */
  readonly stream: string;
  readonly eventsSubject: string;
  readonly actionsSubject: string;
  readonly workerId: string;
  /** Masks secrets in a text. */
  readonly redact: (text: string) => string;
  /** Takes what is wrong with a list, and what becomes of it. */
  readonly onWarning: (message: string) => void;
  /** Called once, before a connection is made without TLS. Default: nothing. */
  readonly onPlaintext?: (() => void) | undefined;
  /** Told once per change; at the beginning it is disconnected. */
  readonly onState: (state: 'connected' | 'disconnected') => void;
  /**
   * Whether it is on record, from an agent before this one, that all work is done and the machine
   * is to be finished. As long as it is not, and no list has ended here, a list may come that goes
   * on with what an earlier agent began. Default: never.
   */
  readonly powerActionPending?: (() => boolean) | undefined;
  /** Longest wait for a list in one question for work, in seconds. Default: 60. */
  readonly waitSeconds?: number | undefined;
}

/**
 * A {@link Transport} by way of a NATS server: who sends a list of actions to the worker's subject
 * has them run one after the other, and events tell how it goes. After the last attempt at an
 * action failed, or timed out, the rest of its list is not run. Lists that come meanwhile wait for
 * their turn.
 *
 * NATS without JetStream keeps no messages. A list is lost with the agent that had it, or if no
 * agent was connected when it was sent: it must be sent again then. If it names its workflow and
 * its actions by the same ids as before, what has ended is only reported again, and the rest is
 * run; without ids it is a new one. The same holds for a list that comes twice before its end.
 *
 * Events are sent at least once: one whose arrival is not known is sent again.
 *
 * Nothing is connected before the first call. From then on the connection is made again for as long
 * as it takes, 2 to 3 seconds after each failure.
 *
 * @throws {NatsOptionsError}
 */
export function openNats(options: NatsOptions): Transport {
  return new NatsTransport(options);
}

/** More pending lists than this are refused. */
const maxWaitingLists = 16;
/** So much text of lists waits to be read. */
const maxUnreadBytes = 8 * maxListBytes;
/** What waits of an empty list. */
const overheadBytes = 8192;
/** So many refusals are reported at once; of others only the count. */
const maxRefusals = 16;
const maxMessageCharacters = 4000;

class NatsTransport implements Transport {
  readonly #options: NatsOptions;
  readonly #clock: Clock;
  readonly #bus: Bus;
  /** The first one is worked on. */
  readonly #lists: ListInWork[] = [];
  /** Aborted by what ends the wait for a list: a list, or the loss of the connection. */
  #news = new AbortController();
  /** Settled when all texts that have come are read, in their order. */
  #reading: Promise<void> = Promise.resolve();
  #unreadBytes = 0;
  /** Refused lists whose report is on its way. */
  #refusals = 0;
  #unreported = 0;
  readonly #stop = new AbortController();
  #hasEnded = false;
  /** A list has ended since the last answer to a question for work. */
  #endIsNews = false;

  constructor(options: NatsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    const { stream, workerId, actionsSubject, eventsSubject } = options;
    this.#bus = new Bus({
      clock: this.#clock,
      address: parseAddress(options.server),
      tls: options.tls ?? { required: false, verify: true },
      name: workerId,
      listenOn: subjectOf(stream, workerId, actionsSubject),
      publishOn: subjectOf(stream, workerId, eventsSubject),
      onMessage: (bytes) => this.#receive(bytes),
      onPlaintext: options.onPlaintext ?? (() => {}),
      onProblem: (text) => this.#warn(text),
      onState: (state) => {
        options.onState(state);
        this.#news.abort();
      },
    });
  }

  /** Waits for a list, if there is none. */
  async next(signal: AbortSignal): Promise<Next> {
    await this.#untilRead(signal);
    if (this.#lists.length === 0 && !this.#endIsNews) await this.#awaitList(signal);
    this.#endIsNews = false;
    const current = this.#lists[0]?.current();
    if (current !== undefined) return { kind: 'action', action: current, alreadyStarted: false };
    const { powerActionPending = () => false } = this.#options;
    const reason = `no list of actions waits; they come on ${this.#bus.listenOn}`;
    return { kind: 'idle', reason, mayContinue: !this.#hasEnded && !powerActionPending() };
  }

  async report(event: Event, signal: AbortSignal): Promise<Acknowledgement> {
    const [first] = this.#lists;
    const list = first?.isAt(event.action) === true ? first : undefined;
    const isTriedAgain = event.kind === 'ended' && list?.isTriedAgainAfter(event.outcome) === true;
    await this.#bus.publish(toReport(event, isTriedAgain, this.#options.redact), signal);
    if (event.kind === 'started' || list === undefined) return { kind: 'acknowledged', workflowDone: false };
    list.advance(event.outcome);
    if (list.hasEnded()) this.#end(list, event);
    return { kind: 'acknowledged', workflowDone: list.hasEnded() && event.outcome.verdict === 'SUCCESS' };
  }

  /** Who sent a list has no way to take it back. */
  async checkCancelled(): Promise<CancelState> {
    return { kind: 'active' };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stop.abort(new Error('the transport is closed'));
    await this.#bus[Symbol.asyncDispose]();
    await this.#reading;
    for (const list of this.#lists) this.#warn(`${list.describe()} is given up; it must be sent again`);
  }

  async #awaitList(signal: AbortSignal): Promise<void> {
    await this.#bus.connect(signal);
    this.#news = new AbortController();
    // A list may have come while the connection was made.
    if (this.#lists.length > 0) return;
    const either = AbortSignal.any([signal, this.#news.signal]);
    await this.#clock.wait(this.#options.waitSeconds ?? 60, either).catch(() => signal.throwIfAborted());
    if (this.#lists.length === 0) await this.#bus.connect(signal);
  }

  #receive(bytes: Uint8Array): void {
    const tooMuch = this.#excessOf(bytes);
    if (tooMuch !== undefined) {
      this.#refuse(`the list cannot be used: ${tooMuch}`);
      return;
    }
    const cost = bytes.length + overheadBytes;
    this.#unreadBytes += cost;
    const text = new TextDecoder().decode(bytes);
    this.#reading = this.#reading.then(async () => {
      await this.#read(text);
      this.#unreadBytes -= cost;
    });
  }

  #excessOf({ length }: Uint8Array): string | undefined {
    if (length > maxListBytes) return `it has ${length} bytes, more than ${maxListBytes}`;
    return this.#unreadBytes + length + overheadBytes > maxUnreadBytes
      ? 'too many others are still to be read'
      : undefined;
  }

  /** Never rejects: what is wrong with a list is reported. */
  async #read(text: string): Promise<void> {
    const { workerId } = this.#options;
    try {
      const options = { workerId, listId: `nats-${crypto.randomUUID()}`, source: `list on ${this.#bus.listenOn}` };
      const { actions, warnings } = await readList(text, options, this.#clock, this.#stop.signal);
      for (const warning of warnings) this.#warn(warning);
      this.#accept(new ListInWork(actions));
    } catch (error) {
      if (!this.#stop.signal.aborted) this.#refuse(`the list cannot be used: ${reasonOf(error)}`);
    }
  }

  /** A list that has come counts as one that waits, also while it is read. */
  async #untilRead(signal: AbortSignal): Promise<void> {
    if (this.#lists.length > 0) return;
    const stopped = Promise.withResolvers<never>();
    const stop = () => stopped.reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    if (signal.aborted) stop();
    try {
      await Promise.race([this.#reading, stopped.promise]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  #accept(list: ListInWork): void {
    if (this.#lists.length > maxWaitingLists) {
      this.#refuse(`${list.describe()} is dropped: ${maxWaitingLists} others wait already`);
      return;
    }
    this.#lists.push(list);
    this.#news.abort();
  }

  /** Publishes the warning too, in one attempt: a message that is no list gets no more. */
  #refuse(why: string): void {
    if (this.#refusals === maxRefusals) {
      this.#unreported += 1;
      return;
    }
    this.#refusals += 1;
    this.#warn(why);
    const none = { workflow_id: '', task_id: '', action_id: '', action_name: '', agent_id: this.#options.workerId };
    const report = { ...none, state: 'FAILED', message: toMessage(this.#options.redact(why), maxMessageCharacters) };
    this.#bus
      .publish(report, this.#stop.signal)
      .catch((error: Error) => this.#warn(error.message))
      .finally(() => {
        this.#refusals -= 1;
        if (this.#refusals > 0 || this.#unreported === 0) return;
        this.#warn(`${this.#unreported} more lists cannot be used: too many come at once`);
        this.#unreported = 0;
      });
  }

  #end(list: ListInWork, { action }: Event): void {
    this.#lists.shift();
    [this.#hasEnded, this.#endIsNews] = [true, true];
    if (list.remaining > 0)
      this.#warn(`what follows ${action.name} is not run: ${list.remaining} of ${list.describe()}`);
  }

  #warn(text: string): void {
    this.#options.onWarning(toMessage(this.#options.redact(text), maxMessageCharacters));
  }
}

/** A list of actions and how far it has come. */
class ListInWork {
  readonly #actions: readonly ListedAction[];
  #position = 0;
  #attempt = 1;
  #hasFailed = false;
  /** What attempts at the current action took that failed, in seconds. */
  #spentSeconds = 0;

  constructor(actions: readonly ListedAction[]) {
    this.#actions = actions;
  }

  /**
   * The attempt that is next, or runs; `undefined` at the end. As with the Go agent, the limit of
   * an action is one for all attempts.
   */
  current(): Action | undefined {
    const listed = this.#actions[this.#position];
    if (listed === undefined || this.#hasFailed) return undefined;
    const { timeoutSeconds } = listed.action;
    return {
      ...listed.action,
      id: idOfAttempt(listed.action.id, this.#attempt),
      timeoutSeconds: timeoutSeconds && Math.max(1, Math.ceil(timeoutSeconds - this.#spentSeconds)),
    };
  }

  isAt({ workflowId, id }: Action): boolean {
    const action = this.current();
    return action?.workflowId === workflowId && action.id === id;
  }

  isTriedAgainAfter({ verdict }: Outcome): boolean {
    return verdict === 'FAILED' && this.#attempt < (this.#actions[this.#position]?.attempts ?? 1);
  }

  advance(outcome: Outcome): void {
    if (this.isTriedAgainAfter(outcome)) {
      this.#attempt += 1;
      this.#spentSeconds += Math.max(0, outcome.endedAt.getTime() - outcome.startedAt.getTime()) / 1000;
    } else if (outcome.verdict === 'SUCCESS') {
      this.#position += 1;
      [this.#attempt, this.#spentSeconds] = [1, 0];
    } else this.#hasFailed = true;
  }

  hasEnded(): boolean {
    return this.current() === undefined;
  }

  /** Actions after the current one; none after the last. */
  get remaining(): number {
    return Math.max(0, this.#actions.length - this.#position - 1);
  }

  describe(): string {
    const workflows = [...new Set(this.#actions.map(({ action }) => action.workflowId))].join(', ');
    return `the list of ${this.#actions.length} actions (workflow ${workflows})`;
  }
}

/**
 * One event as JSON. A failed attempt that is followed by another is not the end of the action and
 * is not published as one.
 */
function toReport(
  event: Event,
  isTriedAgain: boolean,
  redact: (text: string) => string,
): Readonly<Record<string, unknown>> {
  const { workflowId, taskName, name, workerId } = event.action;
  const { id, attempt } = parseAttemptId(event.action.id);
  const whose = { workflow_id: workflowId, task_id: taskName, action_id: id, action_name: name, agent_id: workerId };
  if (event.kind === 'started') {
    const execution_start = event.at.toISOString();
    return { ...whose, attempt, state: 'RUNNING', message: 'running action', execution_start };
  }
  const { verdict, startedAt, endedAt } = event.outcome;
  const message = toMessage(redact(event.outcome.message), maxMessageCharacters);
  const times = { execution_start: startedAt.toISOString(), execution_stop: endedAt.toISOString() };
  if (!isTriedAgain) return { ...whose, attempt, state: verdict, message, ...times };
  return {
    ...whose,
    attempt,
    state: 'RUNNING',
    message: `attempt ${attempt} failed, another follows: ${message}`,
    ...times,
  };
}

/**
 * With a wildcard in it a worker would take the lists of others.
 * @throws {NatsOptionsError}
 */
function subjectOf(...parts: readonly string[]): string {
  const subject = parts.join('.');
  if (/^[^\s.*>]+(\.[^\s.*>]+)*$/.test(subject)) return subject;
  throw new NatsOptionsError(
    `"${subject}" is not a NATS subject: stream, worker and name must not be empty or contain spaces, * or >`,
  );
}
