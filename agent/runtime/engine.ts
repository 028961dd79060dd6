import type { RegistryLogin } from '../../registry/login.ts';
import type { ContainerSpec } from './container-spec.ts';
import type { ContainerDetails, ContainerSummary } from './container-state.ts';

/** Bytes that a container printed. Chunks end anywhere, also within a line or a character. */
export interface OutputChunk {
  readonly stream: 'stdout' | 'stderr';
  readonly bytes: Buffer;
}

/**
 * What a container prints, read once and in order; the next chunk is not read before it is asked
 * for, so that a slow reader applies back-pressure to the container. It ends when all was read, and
 * throws an {@link EngineError} `unavailable` when the connection breaks before.
 */
export type Output = AsyncIterable<OutputChunk>;

/**
 * Progress of a pull. `layer` names a layer within the image. What is neither is a sign of life.
 */
export type PullProgress =
  | {
      readonly phase: 'downloading';
      readonly layer: string;
      readonly doneBytes: number;
      /** 0: not known. */
      readonly totalBytes: number;
    }
  | { readonly phase: 'downloaded' | 'present' | 'unpacking' | 'unpacked'; readonly layer: string }
  | { readonly phase: 'other' };

/** What happened to a container. */
export type ContainerEvent =
  | { readonly kind: 'exited'; readonly exitCode: number }
  | { readonly kind: 'out-of-memory' };

/** Which events are sent. Times are those of the engine's clock. */
export interface EventFilter {
  /** Id of the container. */
  readonly container: string;
  readonly kind: ContainerEvent['kind'];
  /** Default: now. */
  readonly since?: Date | undefined;
  /** Default: no end. */
  readonly until?: Date | undefined;
}

/**
 * Port to a container engine. Each method makes its request once.
 *
 * A failure is an {@link EngineError} whose `reason` says what callers distinguish; a pull that
 * fails is a {@link PullError}. Beside those, only the reason of the signal is thrown.
 */
export interface Engine extends AsyncDisposable {
  /**
   * Whether it answers. Called after an outage before anything else: what an adapter remembers of
   * the engine is not valid any more.
   */
  ping(signal: AbortSignal): Promise<void>;
  /**
   * Containers that have all the labels, running or not. A label is `name=value`, or `name` with
   * any value.
   */
  listContainers(labels: readonly string[], signal: AbortSignal): Promise<readonly ContainerSummary[]>;
  /**
   * @returns its id
   * @throws {EngineError} `name-taken`
   */
  createContainer(spec: ContainerSpec, signal: AbortSignal): Promise<string>;
  /**
   * @param container id or name
   * @throws {EngineError} `no-such-container`
   */
  inspectContainer(container: string, signal: AbortSignal): Promise<ContainerDetails>;
  /** @throws {EngineError} `no-such-container` */
  startContainer(id: string, signal: AbortSignal): Promise<void>;
  /**
   * What it prints from now on; before the start, that is all of it.
   * @throws {EngineError} `no-such-container`
   */
  attach(id: string, signal: AbortSignal): Promise<Output>;
  /**
   * What it printed, as far as the engine keeps that, and prints from now on.
   * @param since by the engine's clock
   * @returns `undefined`: the engine sends the output somewhere from where it cannot be read back
   * @throws {EngineError} `no-such-container`
   */
  followLog(id: string, since: Date, signal: AbortSignal): Promise<Output | undefined>;
  /**
   * Waits until it has exited.
   * @returns the exit code; `undefined`: the engine has more to say of the exit, or the connection
   * ended: inspect it
   * @throws {EngineError} `no-such-container`
   */
  waitForExit(id: string, signal: AbortSignal): Promise<number | undefined>;
  /**
   * Sends the stop signal of its image, kills it after the grace period, and waits for its exit.
   * The engine does both, so that it is killed although the agent is gone.
   * @throws {EngineError} `not-running`, `no-such-container`
   */
  stopContainer(id: string, graceSeconds: number, signal: AbortSignal): Promise<void>;
  /**
   * Removes it with its anonymous volumes; kills it if it runs.
   * @throws {EngineError} `no-such-container`, `being-removed`
   */
  removeContainer(id: string, signal: AbortSignal): Promise<void>;
  /**
   * Absent: {@link waitForExit} returns at the exit without a delay, and {@link ContainerDetails}
   * has `outOfMemory`.
   */
  events?(filter: EventFilter, signal: AbortSignal): Promise<AsyncIterable<ContainerEvent>>;
  hasImage(name: string, signal: AbortSignal): Promise<boolean>;
  /**
   * Pulls an image from the registry in its name.
   * @param name canonical, as `parseReference()` makes it
   * @returns once the engine has begun; the progress, which ends when the image can be used
   * @throws {PullError} at once or amid the progress; {EngineError} `unavailable` at once
   */
  pullImage(name: string, login: RegistryLogin | undefined, signal: AbortSignal): Promise<AsyncIterable<PullProgress>>;
  /**
   * Loads the images of an archive, as `docker save` writes it.
   * @param path of the archive, for this process
   * @returns their names; their ids if they have none
   * @throws {EngineError} `refused`: it is no archive of images, or cannot be read
   */
  loadImages(path: string, signal: AbortSignal): Promise<readonly string[]>;
  /** Whether it has a network for containers that name none: `default`. */
  hasDefaultNetwork(signal: AbortSignal): Promise<boolean>;
}
