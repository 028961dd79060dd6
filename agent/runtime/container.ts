import type { Readable } from 'node:stream';
import type { ContainerCreateOptions } from 'dockerode';
import { startDeadline } from '../../clock/deadline.ts';
import { withAcceptedCapabilities } from './accepted-capabilities.ts';
import { ranOutOfMemory, watchForSuccess } from './container-events.ts';
import { alternativeName, withName } from './container-settings.ts';
import { type Engine, EngineError } from './engine.ts';
import type { ContainerState } from './engine-api.ts';
import { createOutputReader, type OutputLine, type OutputReader } from './output.ts';

/** How a container ended. */
export interface Ending {
  readonly exitCode: number;
  /** Of one that failed. */
  readonly outOfMemory: boolean;
  /** The limit was over before the end was known; whatever the exit code says. */
  readonly timedOut: boolean;
  /** What the engine has to say, or empty. */
  readonly engineError: string;
  /** By the engine's clock, if it was an adopted one. */
  readonly startedAt: Date;
  /** Of one that timed out, when its limit was over: the time of grace after that is not the action's. */
  readonly endedAt: Date;
  /** The engine was away in between. */
  readonly engineWasAway: boolean;
  readonly lastLines: readonly string[];
}

/** How a container is run. */
export interface RunOptions {
  /** From the start of the container. */
  readonly limitSeconds: number;
  /** Between the request to end and the end by force. */
  readonly graceSeconds: number;
  onStarted(): void;
  /** A promise holds up the container's output, while it runs. */
  onLine(line: OutputLine): void | Promise<void>;
  onWarning(message: string): void;
  /** It could not be removed, or the engine is still at it. */
  onKept(): void;
}

/** What is to be known of an end. */
type EndState = Pick<ContainerState, 'ExitCode' | 'OOMKilled' | 'Error' | 'StartedAt' | 'FinishedAt'>;

/** What a shell says of a program that the kernel killed. */
const exitCodeOfSigkill = 137;

/** A timer cannot be set any further. */
const longestLimitSeconds = 24 * 24 * 3600;

/** A container of the engine. It is stopped, if it still runs, and removed with its volumes when it is disposed of. */
export class Container implements AsyncDisposable {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  /** It was started by an agent that is no more. */
  readonly adopted: boolean;
  readonly #engine: Engine;
  readonly #options: RunOptions;
  readonly #ended = Promise.withResolvers<true>();
  #hasEnded = false;
  /** Lets go of a line that is held up. */
  #letGo: (() => void) | undefined;

  constructor(
    engine: Engine,
    options: RunOptions,
    container: { readonly id: string; readonly name: string; readonly image: string; readonly adopted: boolean },
  ) {
    this.id = container.id;
    this.name = container.name;
    this.image = container.image;
    this.adopted = container.adopted;
    this.#engine = engine;
    this.#options = options;
  }

  /** Makes a container. A name that somebody else has taken gets an appendix. */
  static async create(
    engine: Engine,
    settings: ContainerCreateOptions,
    options: RunOptions,
    signal: AbortSignal,
  ): Promise<Container> {
    const wanted = settings.name ?? '';
    let name = wanted;
    for (;;) {
      try {
        const id = await withAcceptedCapabilities(settings.HostConfig ?? {}, (HostConfig) =>
          engine.call(
            (api, limited) => api.createContainer(withName({ ...settings, HostConfig }, name), limited),
            signal,
          ),
        );
        return new Container(engine, options, { id, name, image: settings.Image ?? '', adopted: false });
      } catch (error) {
        if (!(error instanceof EngineError) || error.statusCode !== 409) throw error;
        const id = await ownerOf(engine, name, settings, signal);
        if (id !== undefined)
          return new Container(engine, options, { id, name, image: settings.Image ?? '', adopted: false });
        name = alternativeName(wanted);
      }
    }
  }

  /**
   * Starts the container, unless it is an adopted one, copies its output and waits for its end; over the limit it is stopped.
   * @throws {EngineError} if it cannot be started or is gone; the reason of the signal.
   */
  async finish(signal: AbortSignal): Promise<Ending> {
    const outages = this.#engine.outages();
    const copying = new AbortController();
    const copySignal = AbortSignal.any([signal, copying.signal]);
    let lastLineAt = this.#engine.clock.now().getTime();
    const reader = createOutputReader({
      clock: this.#engine.clock,
      onLine: (line) => {
        lastLineAt = this.#engine.clock.now().getTime();
        return this.#whileRunning(this.#options.onLine(line));
      },
    });
    try {
      const [source, told] = this.adopted ? [] : await this.#listen(copySignal);
      const alreadyRanSeconds = this.adopted ? await this.#ranSeconds(signal) : await this.#start(signal);
      this.#options.onStarted();
      const copied = this.#copyOutput(reader, source, () => lastLineAt, copySignal);
      const { state, timedOutAt } = await this.#waitForEnd(alreadyRanSeconds, told?.success, signal);
      const timedOut = timedOutAt !== undefined;
      await this.#letOutputEnd(copied, () => lastLineAt);
      await reader.end();
      return {
        exitCode: state.ExitCode,
        outOfMemory: state.OOMKilled || (!timedOut && (await this.#ranOutOfMemory(state, signal))),
        timedOut,
        engineError: state.Error,
        startedAt: new Date(state.StartedAt),
        endedAt: timedOutAt ?? this.#engine.clock.now(),
        engineWasAway: this.#engine.outages() !== outages,
        lastLines: reader.lastLines(),
      };
    } finally {
      copying.abort(new Error('the container has ended'));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const limit = { seconds: this.#options.graceSeconds + 30, awaited: 'answer' };
    using deadline = startDeadline(this.#engine.clock, limit);
    const { signal } = deadline;
    try {
      if (!this.#hasEnded) await this.#stop(signal);
      await this.#engine.call((api, limited) => api.removeContainer(this.id, limited), signal);
    } catch (error) {
      this.#options.onKept();
      // 404: gone already; 409: being removed.
      if (error instanceof EngineError && (error.statusCode === 404 || error.statusCode === 409)) return;
      const reason = (error as Error).message;
      this.#options.onWarning(
        `cannot remove the container ${this.name}: ${reason}; it is removed before the next action`,
      );
    }
  }

  /** Before the container starts, so that nothing of what it prints and of what is told of it is lost. */
  #listen(signal: AbortSignal) {
    return Promise.all([this.#attach(signal), watchForSuccess(this.#engine, this.id, signal)]);
  }

  async #attach(signal: AbortSignal): Promise<Readable> {
    return await this.#engine.call((api, limited) => api.attach(this.id, limited), signal);
  }

  /** If an answer got lost, the container may have been started, and may even have ended: it must not be started again. */
  async #start(signal: AbortSignal): Promise<number> {
    let isFirst = true;
    await this.#engine.call(async (api, limited) => {
      const started = !isFirst && wasStarted((await api.inspectContainer(this.id, limited)).State);
      isFirst = false;
      if (!started) await api.startContainer(this.id, limited);
    }, signal);
    return 0;
  }

  async #ranSeconds(signal: AbortSignal): Promise<number> {
    const { StartedAt } = await this.#inspect(signal);
    return Math.max(0, (this.#engine.clock.now().getTime() - Date.parse(StartedAt)) / 1000);
  }

  /** What is left of the output when the container has ended is little, and the report of its end does not wait for whoever reads it. */
  #whileRunning(held: void | Promise<void>): Promise<void> | undefined {
    if (held === undefined || this.#hasEnded) return undefined;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#letGo = resolve;
    void held.then(resolve);
    return promise;
  }

  #end(): void {
    this.#hasEnded = true;
    this.#ended.resolve(true);
    this.#letGo?.();
  }

  /** @param success see {@link watchForSuccess}; nobody listens to what is told of an adopted container. */
  async #waitForEnd(
    alreadyRanSeconds: number,
    success: Promise<true | undefined> | undefined,
    signal: AbortSignal,
  ): Promise<{ state: EndState; timedOutAt: Date | undefined }> {
    const { limitSeconds } = this.#options;
    const limit = new AbortController();
    const leftSeconds = Math.min(Math.max(0, limitSeconds - alreadyRanSeconds), longestLimitSeconds);
    let overAt: Date | undefined;
    const end = () => {
      overAt = this.#engine.clock.now();
      limit.abort(new Error('the limit is over'));
    };
    using _ = this.#engine.clock.schedule(leftSeconds, end);
    // Alone this decides about TIMEOUT: what the engine says after the limit no longer counts.
    const timedOutAt = (ended: ContainerState | undefined) =>
      this.adopted && ended !== undefined ? timeOfLimit(ended, limitSeconds) : overAt;
    const startedAt = this.#engine.clock.now().toISOString();
    // What was started just now need not be looked at before it is waited for.
    let state = this.adopted ? await this.#inspect(signal) : undefined;
    for (;;) {
      if (state !== undefined && hasEnded(state)) {
        this.#end();
        return { state, timedOutAt: timedOutAt(state) };
      }
      if (overAt !== undefined) {
        await this.#stop(signal);
        this.#end();
        state = await this.#inspect(signal);
        return { state, timedOutAt: timedOutAt(state) ?? overAt };
      }
      const succeeded = await this.#untilChange(success, AbortSignal.any([signal, limit.signal]));
      if (succeeded && !this.adopted && overAt === undefined) {
        // The engine has nothing to add, and before it answers that it clears up after the container.
        this.#end();
        const times = { StartedAt: startedAt, FinishedAt: this.#engine.clock.now().toISOString() };
        return { state: { ExitCode: 0, OOMKilled: false, Error: '', ...times }, timedOutAt: undefined };
      }
      state = await this.#inspect(signal);
    }
  }

  /**
   * Returns when the container ended, the engine went away, the signal is aborted, or a minute is over. True: it ended with 0, and there is nothing else to say
   * of that; in all other cases one looks again.
   */
  async #untilChange(success: Promise<true | undefined> | undefined, signal: AbortSignal): Promise<boolean> {
    const over = new AbortController();
    using deadline = startDeadline(this.#engine.clock, { seconds: 60, awaited: 'end of the container' });
    const minute = AbortSignal.any([signal, over.signal, deadline.signal]);
    const answered = this.#untilAnswer(minute);
    try {
      return (await Promise.race([success ?? answered, answered])) ?? (await answered);
    } finally {
      over.abort();
    }
  }

  async #untilAnswer(minute: AbortSignal): Promise<boolean> {
    try {
      return await this.#engine.call((api, limited) => api.waitForEnd(this.id, limited), minute, Infinity);
    } catch (error) {
      if (minute.aborted) return false;
      if (!(error instanceof EngineError)) throw error;
      // One looks again, but an engine that cannot answer this request is not to be asked in a tight loop.
      await this.#engine.clock.wait(0.5, minute).catch(() => undefined);
      return false;
    }
  }

  async #ranOutOfMemory({ ExitCode, StartedAt, FinishedAt }: EndState, signal: AbortSignal): Promise<boolean> {
    if (ExitCode !== exitCodeOfSigkill) return false;
    const times = { startedAt: new Date(StartedAt), endedAt: new Date(FinishedAt) };
    return await ranOutOfMemory(this.#engine, this.id, times, signal);
  }

  async #stop(signal: AbortSignal): Promise<void> {
    const { graceSeconds } = this.#options;
    try {
      await this.#engine.call(
        (api, limited) => api.stopContainer(this.id, graceSeconds, limited),
        signal,
        graceSeconds + 30,
      );
    } catch (error) {
      // 304: it had ended. Otherwise its forced removal is what remains to be tried.
      if (!(error instanceof EngineError)) throw error;
      if (error.statusCode !== 304 && error.statusCode !== 404) {
        this.#options.onWarning(`cannot stop the container ${this.name}: ${error.message}`);
      }
    }
  }

  async #inspect(signal: AbortSignal): Promise<ContainerState> {
    return (await this.#engine.call((api, limited) => api.inspectContainer(this.id, limited), signal)).State;
  }

  /** Reads until the container has ended and all its output was read; after an outage of the engine goes on where it was. */
  async #copyOutput(
    reader: OutputReader,
    attached: Readable | undefined,
    lastLineAt: () => number,
    signal: AbortSignal,
  ): Promise<void> {
    let source = attached;
    let sinceSeconds = 0;
    try {
      for (;;) {
        const outages = this.#engine.outages();
        source ??= await this.#followLog(sinceSeconds, signal);
        if (source === undefined) return;
        await readToEnd(reader, source, signal);
        const isEnd = (await this.#endsWithin(0.1, signal)) || hasEnded(await this.#inspect(signal));
        if (isEnd && this.#engine.outages() === outages) return;
        sinceSeconds = lastLineAt() / 1000;
        source = undefined;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof EngineError && error.statusCode === 404) return;
      this.#options.onWarning(`the rest of the output of ${this.name} is lost: ${(error as Error).message}`);
    }
  }

  /** Who waits for the end mostly hears of it when the output ends: then the engine need not be asked. */
  async #endsWithin(seconds: number, signal: AbortSignal): Promise<boolean> {
    const late = Promise.withResolvers<false>();
    using _ = this.#engine.clock.schedule(seconds, () => late.resolve(false));
    const stop = () => late.reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    try {
      return await Promise.race([this.#ended.promise, late.promise]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  /** @returns `undefined`: there is nothing more to be read */
  async #followLog(sinceSeconds: number, signal: AbortSignal): Promise<Readable | undefined> {
    const log = await this.#engine.call((api, limited) => api.followLog(this.id, sinceSeconds, limited), signal);
    if (log !== undefined) return log;
    this.#options.onWarning(
      `what the container ${this.name} printed before now cannot be read back: it is only where the engine's log driver sends it`,
    );
    // Attaching to a container that has ended would wait for it to start again.
    return hasEnded(await this.#inspect(signal)) ? undefined : await this.#attach(signal);
  }

  /** A process outside of the container may hold its output open for ever; what flows is awaited. */
  async #letOutputEnd(copied: Promise<void>, lastLineAt: () => number): Promise<void> {
    let isDone = false;
    const done = copied.finally(() => {
      isDone = true;
    });
    const { clock } = this.#engine;
    const endedAt = clock.now().getTime();
    for (;;) {
      const pause = Promise.withResolvers<void>();
      using _ = clock.schedule(0.5, pause.resolve);
      await Promise.race([done, pause.promise]);
      if (isDone || clock.now().getTime() - Math.max(endedAt, lastLineAt()) > 5000) return;
    }
  }
}

/** The id of the container of that name if it is ours: made by a request whose answer got lost. */
async function ownerOf(
  engine: Engine,
  name: string,
  settings: ContainerCreateOptions,
  signal: AbortSignal,
): Promise<string | undefined> {
  const found = await engine.call((api, limited) => api.inspectContainer(name, limited), signal);
  const isOurs = Object.entries(settings.Labels ?? {}).every(([key, value]) => found.Config.Labels[key] === value);
  return isOurs && !wasStarted(found.State) ? found.Id : undefined;
}

async function readToEnd(reader: OutputReader, source: Readable, signal: AbortSignal): Promise<void> {
  try {
    await reader.read(source);
  } catch (error) {
    signal.throwIfAborted();
    // The connection broke: the engine is gone, or going.
    if (!(error instanceof Error) || !('code' in error)) throw error;
  }
}

function hasEnded(state: ContainerState): boolean {
  return !state.Running && wasStarted(state);
}

/** The engine's word for never is the year 1. */
function wasStarted(state: ContainerState): boolean {
  return Date.parse(state.StartedAt) > 0;
}

/** When a container that has ended was over its limit, by the engine's clock; `undefined`: it was not. */
function timeOfLimit(state: ContainerState, limitSeconds: number): Date | undefined {
  const limit = Date.parse(state.StartedAt) + limitSeconds * 1000;
  return Date.parse(state.FinishedAt) >= limit ? new Date(limit) : undefined;
}
