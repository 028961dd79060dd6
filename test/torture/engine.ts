/**
 * A container engine and a registry in virtual time, below the product's container runtime.
 * Reproduced: containers outlive the agent; names are unique; answers that are lost, requests that
 * are never answered; an engine that goes away and comes back, with its containers or after it has
 * killed them; pulls that fail or make no progress. Not reproduced: events, logs that cannot be
 * read back, volumes.
 */
import type { ContainerSpec } from '../../agent/runtime/container-spec.ts';
import type { ContainerDetails, ContainerState, ContainerSummary } from '../../agent/runtime/container-state.ts';
import type { Engine, OutputChunk, PullProgress } from '../../agent/runtime/engine.ts';
import { EngineError, type EngineFailure } from '../../agent/runtime/engine-error.ts';
import { PullError } from '../../agent/runtime/pull-error.ts';
import type { Clock } from '../../clock/clock.ts';
import { type Chance, logarithmic, type Odds } from './chance.ts';
import type { Life } from './life.ts';

/** So long a program needs after its stop signal. */
const stopSeconds = 2;

/** How the program of a container goes. */
export interface Course {
  readonly seconds: number;
  readonly exitCode: number;
  readonly lines: readonly string[];
}

export interface SimulatedContainer {
  readonly id: string;
  readonly spec: ContainerSpec;
  state: ContainerState;
  /** Of its own, unless something killed it. */
  wasKilled: boolean;
  readonly exited: PromiseWithResolvers<void>;
}

export interface SimulatedEngineOptions {
  readonly clock: Clock;
  readonly chance: Chance;
  readonly severity: number;
  readonly courseOf: (spec: ContainerSpec) => Course;
  readonly registryPassword: string;
  readonly tell: (text: string) => void;
  readonly kill: (why: string) => void;
  readonly onStart: (container: SimulatedContainer) => void;
  readonly onExit: (container: SimulatedContainer) => void;
  readonly onPullFailure: () => void;
  /** The engine does something that may change how an action ends. */
  readonly onTrouble: () => void;
}

export class SimulatedEngine {
  isUp = true;
  isRegistryUp = true;
  readonly #options: SimulatedEngineOptions;
  readonly #odds: Odds;
  readonly #containers = new Map<string, SimulatedContainer>();
  readonly #images = new Set<string>();
  #down = Promise.withResolvers<void>();
  #count = 0;

  constructor(options: SimulatedEngineOptions) {
    this.#options = options;
    const { severity } = options;
    this.#odds = [
      ['unavailable', 0.004 * severity],
      ['answer lost', 0.006 * severity],
      ['never answered', 0.002 * severity],
      ['refused', 0.001 * severity],
      ['agent killed before', 0.004 * severity],
      ['agent killed after', 0.004 * severity],
    ];
  }

  /** Whether a container of the action runs. */
  running(): readonly SimulatedContainer[] {
    return [...this.#containers.values()].filter(({ state }) => state.status === 'running');
  }

  stop(): void {
    this.isUp = false;
    this.#down.resolve();
    this.#down = Promise.withResolvers();
  }

  start(): void {
    this.isUp = true;
  }

  /** Ends all containers, as an engine without live restore does when it stops. */
  killAll(): void {
    for (const container of this.running()) this.#exit(container, 137, true);
  }

  /** The machine was off: the engine's data was in its memory. */
  clear(): void {
    this.killAll();
    this.#containers.clear();
    this.#images.clear();
  }

  engineFor(life: Life): Engine {
    const request = <Result>(name: string, signal: AbortSignal, work: () => Result | Promise<Result>) =>
      life.guard(this.#request(life, name, signal, work));
    const find = (id: string): SimulatedContainer => {
      const container = this.#containers.get(id) ?? [...this.#containers.values()].find(({ spec }) => spec.name === id);
      if (container === undefined) throw failure('no-such-container', `No such container: ${id}`);
      return container;
    };
    const output = (id: string, signal: AbortSignal) => this.#output(life, find(id), signal);
    return {
      ping: (signal) => request('ping', signal, () => {}),
      listContainers: (labels, signal) => request('list', signal, () => this.#list(labels)),
      createContainer: (spec, signal) => request('create', signal, () => this.#create(spec)),
      inspectContainer: (id, signal) =>
        request('inspect', signal, (): ContainerDetails => {
          const { id: found, spec, state } = find(id);
          return { id: found, labels: spec.labels, state };
        }),
      startContainer: (id, signal) => request('start', signal, () => this.#start(find(id))),
      attach: (id, signal) => request('attach', signal, () => output(id, signal)),
      followLog: (id, _since, signal) => request('log', signal, () => output(id, signal)),
      waitForExit: (id, signal) =>
        request('wait', signal, async () => {
          const container = find(id);
          await this.#untilExit(container, signal);
          return container.state.status === 'exited' ? container.state.exitCode : undefined;
        }),
      stopContainer: (id, _grace, signal) =>
        request('stop', signal, async () => {
          const container = find(id);
          if (container.state.status !== 'running') throw failure('not-running', 'it does not run');
          // The engine stops it although the agent is gone.
          this.#options.clock.schedule(stopSeconds, () => this.#exit(container, 143, true));
          await this.#untilExit(container, signal);
        }),
      removeContainer: (id, signal) =>
        request('remove', signal, () => {
          const container = find(id);
          if (container.state.status === 'running') this.#exit(container, 137, true);
          this.#containers.delete(container.id);
        }),
      hasImage: (name, signal) => request('image', signal, () => this.#images.has(name)),
      pullImage: (name, _login, signal) => request('pull', signal, () => this.#pull(life, name, signal)),
      loadImages: async () => [],
      hasDefaultNetwork: (signal) => request('network', signal, () => true),
      [Symbol.asyncDispose]: async () => {},
    };
  }

  async #request<Result>(
    life: Life,
    name: string,
    signal: AbortSignal,
    work: () => Result | Promise<Result>,
  ): Promise<Result> {
    const { chance, tell, kill, onTrouble } = this.#options;
    const never = new Promise<never>(() => {});
    if (!life.isAlive) return await never;
    signal.throwIfAborted();
    const away = () => failure('unavailable', 'connect ECONNREFUSED /var/run/docker.sock');
    if (!this.isUp) throw away();
    const deviation = chance.at(`engine ${name}`, this.#odds);
    if (deviation !== undefined) tell(`engine ${name}: ${deviation.what}`);
    if (deviation?.what === 'refused' || deviation?.what === 'never answered') onTrouble();
    switch (deviation?.what) {
      case 'unavailable':
        throw away();
      case 'refused':
        throw failure('refused', 'the engine is out of file descriptors');
      case 'agent killed before':
        kill(`before ${name} of the engine`);
        return await never;
    }
    const result = await work();
    switch (deviation?.what) {
      case 'answer lost':
        throw away();
      case 'never answered':
        return await untilAborted(signal);
      case 'agent killed after':
        kill(`after ${name} of the engine`);
        return await never;
    }
    return result;
  }

  #list(labels: readonly string[]): readonly ContainerSummary[] {
    const hasAll = ({ spec }: SimulatedContainer) =>
      labels.every((label) => {
        const [name = '', value] = label.split('=');
        return value === undefined ? name in spec.labels : spec.labels[name] === value;
      });
    return [...this.#containers.values()].filter(hasAll).map(({ id, spec, state }) => {
      const { name, image, labels } = spec;
      return { id, name, image, labels, status: state.status };
    });
  }

  #create(spec: ContainerSpec): string {
    if ([...this.#containers.values()].some((other) => other.spec.name === spec.name))
      throw failure('name-taken', `the name ${spec.name} is in use`);
    this.#count += 1;
    const id = `container-${this.#count}`;
    const container = { id, spec, state: { status: 'created' }, wasKilled: false } as const;
    this.#containers.set(id, { ...container, exited: Promise.withResolvers() });
    return id;
  }

  #start(container: SimulatedContainer): void {
    const { clock, courseOf, onStart } = this.#options;
    if (container.state.status !== 'created') return;
    container.state = { status: 'running', startedAt: clock.now() };
    onStart(container);
    const { seconds, exitCode } = courseOf(container.spec);
    clock.schedule(seconds, () => {
      if (container.state.status === 'running') this.#exit(container, exitCode, false);
    });
  }

  #exit(container: SimulatedContainer, exitCode: number, wasKilled: boolean): void {
    if (container.state.status !== 'running') return;
    const { startedAt } = container.state;
    const exitedAt = this.#options.clock.now();
    container.state = { status: 'exited', startedAt, exitedAt, exitCode, outOfMemory: false, error: '' };
    container.wasKilled = wasKilled;
    container.exited.resolve();
    this.#options.onExit(container);
  }

  async *#output(life: Life, container: SimulatedContainer, signal: AbortSignal): AsyncGenerator<OutputChunk> {
    await life.guard(this.#untilExit(container, signal));
    const { lines } = this.#options.courseOf(container.spec);
    yield { stream: 'stderr', bytes: Buffer.from(lines.map((line) => `${line}\n`).join('')) };
  }

  /** @throws {EngineError} the engine goes away before; the reason of the signal */
  async #untilExit(container: SimulatedContainer, signal: AbortSignal): Promise<void> {
    const down = this.#down.promise.then(() => {
      throw failure('unavailable', 'the connection was closed');
    });
    const stopped = untilAborted(signal);
    down.catch(() => {});
    stopped.catch(() => {});
    await Promise.race([container.exited.promise, down, stopped]);
  }

  async *#progress(life: Life, name: string, signal: AbortSignal): AsyncGenerator<PullProgress> {
    const { chance, severity, clock, tell, onPullFailure } = this.#options;
    const deviation = chance.at('registry', [
      ['breaks off', 0.02 * severity],
      ['stalls', 0.01 * severity],
      ['slow', 0.02 * severity],
    ]);
    if (deviation !== undefined) {
      tell(`the registry ${deviation.what}`);
      // Enough of them in a row are a failure.
      onPullFailure();
    }
    yield { phase: 'downloading', layer: 'a', doneBytes: 1, totalBytes: 10 };
    if (deviation?.what === 'stalls') await life.guard(untilAborted(signal));
    if (deviation?.what === 'slow') {
      const waited = Promise.withResolvers<void>();
      using _ = clock.schedule(logarithmic(1, 500, deviation.size), waited.resolve);
      await life.guard(Promise.race([waited.promise, untilAborted(signal)]));
    }
    if (deviation?.what === 'breaks off' || !this.isRegistryUp) {
      onPullFailure();
      throw this.#pullError(name);
    }
    if (!this.isUp) throw failure('unavailable', 'the connection was closed');
    this.#images.add(name);
    yield { phase: 'downloaded', layer: 'a' };
  }

  #pull(life: Life, name: string, signal: AbortSignal): AsyncIterable<PullProgress> {
    if (this.isRegistryUp) return this.#progress(life, name, signal);
    this.#options.onPullFailure();
    throw this.#pullError(name);
  }

  /** Registries have been seen to repeat what they were sent. */
  #pullError(target: string): PullError {
    const why = `the registry does not answer (user:${this.#options.registryPassword})`;
    return new PullError('unreachable', { target, why });
  }
}

function failure(reason: EngineFailure, why: string): EngineError {
  return new EngineError(reason, { what: 'use', target: 'the engine', why });
}

async function untilAborted(signal: AbortSignal): Promise<never> {
  const { promise, reject } = Promise.withResolvers<never>();
  const stop = () => reject(signal.reason);
  if (signal.aborted) stop();
  signal.addEventListener('abort', stop, { once: true });
  return await promise;
}
