import { constants } from 'node:os';
import type { Clock } from '../../../clock/clock.ts';
import { EventsDefinition, TaskOom } from '../../../proto/containerd.pb.ts';
import { type ContainerdClient, isUnavailable, plainReasonOf } from './client.ts';
import type { ContainerStore } from './container-store.ts';
import { isInTime } from './in-time.ts';
import { type Exit, exitLabels } from './record.ts';
import type { Tasks } from './tasks.ts';

const exitCodeOfSigkill = 128 + constants.signals.SIGKILL;
/** The event that a container ran out of memory may come after that of its exit. */
const outOfMemoryTimeoutSeconds = 0.5;

export interface ExitRecorderOptions {
  readonly client: ContainerdClient;
  readonly containers: ContainerStore;
  readonly tasks: Tasks;
  /** Called with failures that do not end the container. */
  readonly warn: (message: string) => void;
}

/**
 * Stores the exits of containers in their labels, and only then deletes containerd's tasks: no exit
 * is lost.
 */
export class ExitRecorder {
  readonly #options: ExitRecorderOptions;

  constructor(options: ExitRecorderOptions) {
    this.#options = options;
  }

  /**
   * Watches for the event that a container ran out of memory; called before the container starts.
   * Resolves at that event, otherwise never.
   */
  async watchForOutOfMemory(id: string, signal: AbortSignal): Promise<true> {
    const { client } = this.#options;
    const filters = [`namespace==${JSON.stringify(client.namespace)},topic=="/tasks/oom"`];
    try {
      for await (const { event } of client.stream(EventsDefinition, 'subscribe', { filters }, { signal })) {
        if (event !== undefined && TaskOom.decode(event.value).containerId === id) return true;
      }
    } catch {
      // It only explains an exit code that is known anyway.
    }
    return await new Promise<never>(() => {});
  }

  /**
   * Waits for the exit of a container that runs, and stores it. Never rejects.
   * @param signal ends this
   */
  async record(id: string, outOfMemory: Promise<true>, signal: AbortSignal): Promise<void> {
    const { containers, tasks, warn } = this.#options;
    try {
      const exit = await this.#whenAvailable(signal, () => this.#untilExit(id, outOfMemory, signal));
      if (exit !== undefined)
        await this.#whenAvailable(signal, () => containers.setLabels(id, exitLabels(exit), signal));
      await this.#whenAvailable(signal, () => tasks.delete(id, signal));
    } catch (error) {
      if (!signal.aborted) warn(`cannot record the exit of the container ${id}: ${plainReasonOf(error)}`);
    }
  }

  /** Repeats work as long as containerd is unavailable. */
  async #whenAvailable<Result>(signal: AbortSignal, work: () => Promise<Result>): Promise<Result> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!isUnavailable(error)) throw error;
        await this.#clock.wait(0.5, signal);
      }
    }
  }

  /** `undefined`: it is not known, or stored already. */
  async #untilExit(id: string, outOfMemory: Promise<true>, signal: AbortSignal): Promise<Exit | undefined> {
    const exit = await this.#options.tasks.wait(id, signal);
    if (exit === undefined) return undefined;
    const { exitCode, exitedAt = this.#clock.now() } = exit;
    const wasKilled = exitCode === exitCodeOfSigkill;
    return {
      ...{ exitCode, exitedAt },
      outOfMemory: wasKilled && (await isInTime(this.#clock, outOfMemory, outOfMemoryTimeoutSeconds)),
    };
  }

  get #clock(): Clock {
    return this.#options.client.clock;
  }
}
