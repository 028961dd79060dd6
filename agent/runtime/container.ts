import { startDeadline } from '../../clock/deadline.ts';
import { reasonOf } from '../../errors/reason.ts';
import { ranOutOfMemory, watchForSuccess } from './container-events.ts';
import { alternativeName } from './container-identity.ts';
import type { ContainerSpec } from './container-spec.ts';
import type { ContainerState, ExitedState } from './container-state.ts';
import type { EngineConnection } from './engine-connection.ts';
import { EngineError, isEngineError } from './engine-error.ts';
import { OutputCopy, type OutputCopyOptions } from './output-copy.ts';

/** How a container exited. */
export interface ExitInfo {
  readonly exitCode: number;
  /** Of one that failed. */
  readonly outOfMemory: boolean;
  /** The limit was over before the exit was known; whatever the exit code says. */
  readonly timedOut: boolean;
  /** The engine's error about the exit, or empty. */
  readonly engineError: string;
  /** By the engine's clock, if it was an adopted one. */
  readonly startedAt: Date;
  /**
   * Of one that timed out, when its limit was over: the grace period after that is not the
   * action's.
   */
  readonly endedAt: Date;
  /** The engine was unavailable in between. */
  readonly engineWasAway: boolean;
  readonly lastLines: readonly string[];
}

/** How a container is run. */
export interface RunOptions extends OutputCopyOptions {
  /** From the start of the container. */
  readonly limitSeconds: number;
  /** Between the stop signal and the kill. */
  readonly graceSeconds: number;
  onStarted(): void;
  /** It could not be removed, or the engine has not finished that. */
  onLeftover(): void;
}

/** The exit code of a program that the kernel killed. */
const exitCodeOfSigkill = 137;

/** A timer cannot be set any further. */
const maxLimitSeconds = 24 * 24 * 3600;

/**
 * A container of the engine. It is stopped, if it still runs, and removed with its volumes when it
 * is disposed of.
 */
export class Container implements AsyncDisposable {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  /** It was started by an agent that is gone. */
  readonly adopted: boolean;
  readonly #connection: EngineConnection;
  readonly #options: RunOptions;
  #hasExited = false;

  constructor(
    connection: EngineConnection,
    options: RunOptions,
    container: { readonly id: string; readonly name: string; readonly image: string; readonly adopted: boolean },
  ) {
    this.id = container.id;
    this.name = container.name;
    this.image = container.image;
    this.adopted = container.adopted;
    this.#connection = connection;
    this.#options = options;
  }

  /**
   * Makes a container. If another one has its name, it gets a suffix.
   * @throws {EngineError}; the reason of the signal
   */
  static async create(
    connection: EngineConnection,
    spec: ContainerSpec,
    options: RunOptions,
    signal: AbortSignal,
  ): Promise<Container> {
    const { image } = spec;
    let { name } = spec;
    for (;;) {
      const named = { ...spec, name };
      try {
        const id = await connection.call((engine, limited) => engine.createContainer(named, limited), signal);
        return new Container(connection, options, { id, name, image, adopted: false });
      } catch (error) {
        if (!isEngineError(error, 'name-taken')) throw error;
        const id = await idIfOurs(connection, named, signal);
        if (id !== undefined) return new Container(connection, options, { id, name, image, adopted: false });
        name = alternativeName(spec.name);
      }
    }
  }

  /**
   * Starts the container, unless it is an adopted one, copies its output and waits for its exit;
   * over the limit it is stopped.
   * @throws {EngineError} it cannot be started, or is gone; the reason of the signal
   */
  async finish(signal: AbortSignal): Promise<ExitInfo> {
    const outages = this.#connection.outages();
    const copying = new AbortController();
    const copySignal = AbortSignal.any([signal, copying.signal]);
    const output = new OutputCopy(this.#connection, this, this.#options, copySignal);
    try {
      // Before the start, so that no output and no event is lost.
      const watch = () => Promise.all([output.attach(), watchForSuccess(this.#connection, this.id, copySignal)]);
      const [attached, events] = this.adopted ? [] : await watch();
      const alreadyRanSeconds = this.adopted ? await this.#ranSeconds(signal) : await this.#start(signal);
      this.#options.onStarted();
      const copied = output.run(attached);
      const { exit, timedOutAt } = await this.#waitForExit(alreadyRanSeconds, events?.success, signal);
      this.#hasExited = true;
      const lastLines = await output.drain(copied);
      const timedOut = timedOutAt !== undefined;
      return {
        exitCode: exit.exitCode,
        outOfMemory: exit.outOfMemory || (!timedOut && (await this.#ranOutOfMemory(exit, signal))),
        timedOut,
        engineError: exit.error,
        startedAt: exit.startedAt,
        endedAt: timedOutAt ?? this.#connection.clock.now(),
        engineWasAway: this.#connection.outages() !== outages,
        lastLines,
      };
    } finally {
      copying.abort(new Error('the container has exited'));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const limit = { seconds: this.#options.graceSeconds + 30, awaited: 'answer' };
    using deadline = startDeadline(this.#connection.clock, limit);
    const { signal } = deadline;
    try {
      if (!this.#hasExited) await this.#stop(signal);
      await this.#connection.call((engine, limited) => engine.removeContainer(this.id, limited), signal);
    } catch (error) {
      this.#options.onLeftover();
      if (isEngineError(error, 'no-such-container', 'being-removed')) return;
      const why = error instanceof EngineError ? error.why : reasonOf(error);
      this.#options.onWarning(`cannot remove the container ${this.name}: ${why}; it is removed before the next action`);
    }
  }

  /**
   * If a response got lost, the container may have been started, and may even have exited: it must
   * not be started again.
   */
  async #start(signal: AbortSignal): Promise<number> {
    let isFirst = true;
    await this.#connection.call(async (engine, limited) => {
      const isStarted = !isFirst && (await engine.inspectContainer(this.id, limited)).state.status !== 'created';
      isFirst = false;
      if (!isStarted) await engine.startContainer(this.id, limited);
    }, signal);
    return 0;
  }

  async #ranSeconds(signal: AbortSignal): Promise<number> {
    const state = await this.#inspect(signal);
    if (state.status === 'created') return 0;
    return Math.max(0, (this.#connection.clock.now().getTime() - state.startedAt.getTime()) / 1000);
  }

  /**
   * @param success see {@link watchForSuccess}; `undefined` for an adopted container, whose events
   * are not watched
   */
  async #waitForExit(
    alreadyRanSeconds: number,
    success: Promise<true | undefined> | undefined,
    signal: AbortSignal,
  ): Promise<{ exit: ExitedState; timedOutAt: Date | undefined }> {
    const { limitSeconds } = this.#options;
    const { clock } = this.#connection;
    const limit = new AbortController();
    const leftSeconds = Math.min(Math.max(0, limitSeconds - alreadyRanSeconds), maxLimitSeconds);
    let overAt: Date | undefined;
    const expire = () => {
      overAt = clock.now();
      limit.abort(new Error('the limit is over'));
    };
    using _ = clock.schedule(leftSeconds, expire);
    // Alone this decides about TIMEOUT: an exit code after the limit does not count.
    const timedOutAt = (exit: ExitedState) => (this.adopted ? timeOfLimit(exit, limitSeconds) : overAt);
    const startedAt = clock.now();
    // What was started just now need not be inspected before it is waited for.
    let state = this.adopted ? await this.#inspect(signal) : undefined;
    for (;;) {
      if (state?.status === 'exited') return { exit: state, timedOutAt: timedOutAt(state) };
      if (overAt !== undefined) {
        await this.#stop(signal);
        state = await this.#inspect(signal);
        const exit = state.status === 'exited' ? state : exitedNow(startedAt, overAt, exitCodeOfSigkill);
        return { exit, timedOutAt: timedOutAt(exit) ?? overAt };
      }
      const hasSucceeded = await this.#untilChange(success, AbortSignal.any([signal, limit.signal]));
      // The engine has nothing to add, and before it answers that it cleans up after the container.
      if (hasSucceeded && !this.adopted && overAt === undefined)
        return { exit: exitedNow(startedAt, clock.now(), 0), timedOutAt: undefined };
      state = await this.#inspect(signal);
    }
  }

  /**
   * Returns when the container exited, the engine became unavailable, the signal is aborted, or a
   * minute is over. True: it exited with 0, and there is nothing else to say of that; in all other
   * cases its state is to be inspected.
   */
  async #untilChange(success: Promise<true | undefined> | undefined, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController();
    using deadline = startDeadline(this.#connection.clock, { seconds: 60, awaited: 'end of the container' });
    const minute = AbortSignal.any([signal, over.signal, deadline.signal]);
    const answered = this.#untilResponse(minute);
    try {
      return (await Promise.race([success ?? answered, answered])) ?? (await answered);
    } finally {
      over.abort();
    }
  }

  async #untilResponse(minute: AbortSignal): Promise<boolean> {
    try {
      const wait = (engine: EngineConnection['engine'], limited: AbortSignal) => engine.waitForExit(this.id, limited);
      return (await this.#connection.call(wait, minute, Infinity)) === 0;
    } catch (error) {
      if (minute.aborted) return false;
      if (!(error instanceof EngineError)) throw error;
      // The state is inspected next, but an engine that cannot answer this request must not be
      // asked in a tight loop.
      await this.#connection.clock.wait(0.5, minute).catch(() => undefined);
      return false;
    }
  }

  async #ranOutOfMemory(exit: ExitedState, signal: AbortSignal): Promise<boolean> {
    if (exit.exitCode !== exitCodeOfSigkill) return false;
    return await ranOutOfMemory(this.#connection, this.id, exit, signal);
  }

  /** It is known to have exited: it is not stopped any more. */
  get hasExited(): boolean {
    return this.#hasExited;
  }

  /** What cannot be stopped is removed by force afterwards. */
  async #stop(signal: AbortSignal): Promise<void> {
    const { graceSeconds } = this.#options;
    try {
      const stop = (engine: EngineConnection['engine'], limited: AbortSignal) =>
        engine.stopContainer(this.id, graceSeconds, limited);
      await this.#connection.call(stop, signal, graceSeconds + 30);
    } catch (error) {
      if (isEngineError(error, 'not-running', 'no-such-container')) return;
      if (!(error instanceof EngineError)) throw error;
      this.#options.onWarning(`cannot stop the container ${this.name}: ${error.why}`);
    }
  }

  async #inspect(signal: AbortSignal): Promise<ContainerState> {
    return (await this.#connection.call((engine, limited) => engine.inspectContainer(this.id, limited), signal)).state;
  }
}

/** The id of the container with a name if it is ours: made by a request whose response got lost. */
async function idIfOurs(
  connection: EngineConnection,
  { name, labels }: ContainerSpec,
  signal: AbortSignal,
): Promise<string | undefined> {
  // One may be removed meanwhile; and Podman keeps names of containers that are no longer its own,
  // such as those whose removal was interrupted.
  const found = await connection
    .call((engine, limited) => engine.inspectContainer(name, limited), signal)
    .catch((error: unknown) => {
      if (!isEngineError(error, 'no-such-container')) throw error;
    });
  if (found === undefined) return undefined;
  const isOurs = Object.entries(labels).every(([key, value]) => found.labels[key] === value);
  return isOurs && found.state.status === 'created' ? found.id : undefined;
}

/** The state of a container whose exit is known without inspecting it. */
function exitedNow(startedAt: Date, exitedAt: Date, exitCode: number): ExitedState {
  return { status: 'exited', startedAt, exitedAt, exitCode, outOfMemory: false, error: '' };
}

/**
 * When the limit of a container that has exited was over, by the engine's clock; `undefined`: it
 * exited before.
 */
function timeOfLimit({ startedAt, exitedAt }: ExitedState, limitSeconds: number): Date | undefined {
  const limit = new Date(startedAt.getTime() + limitSeconds * 1000);
  return exitedAt >= limit ? limit : undefined;
}
