import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Action } from '../../../agent/action/action.ts';
import type { containerName } from '../../../agent/runtime/container-identity.ts';
import type { ContainerRuntimeOptions, DisposableRuntime } from '../../../agent/runtime/container-runtime.ts';
import { ContainerdClient } from '../../../agent/runtime/containerd/client.ts';
import { idOf, labelKeys } from '../../../agent/runtime/containerd/record.ts';
import { createContainerdRuntime } from '../../../agent/runtime/containerd/runtime.ts';
import { createDockerRuntime } from '../../../agent/runtime/docker/runtime.ts';
import type { RuntimeEvent } from '../../../agent/runtime/event.ts';
import type { Runtime } from '../../../agent/runtime/runtime.ts';
import { ContainersDefinition, TasksDefinition } from '../../../proto/containerd.pb.ts';
import { busyboxImage } from '../../sandbox/busybox-image.ts';
import { startContainerd } from '../../sandbox/containerd.ts';
import { type Engine, type EngineOptions, startEngine } from '../../sandbox/engine.ts';
import { patienceSeconds } from '../../sandbox/patience.ts';
import { type Registry, startRegistry } from '../../sandbox/registry.ts';

/** The engines whose API the agent speaks. */
export const engineKinds = ['docker', 'containerd'] as const;

export type EngineKind = (typeof engineKinds)[number];

/**
 * Where an engine listens and keeps its files: plain data, which can be passed to another process.
 */
export type EngineLocation =
  | { readonly kind: 'docker'; readonly host: string }
  | {
      readonly kind: 'containerd';
      readonly socket: string;
      readonly namespace: string;
      readonly dataRoot: string;
      readonly stateRoot: string;
      readonly registryConfigPath: string;
      readonly networkConfigPath: string;
      readonly networkPluginPaths: readonly string[];
    };

export function createRuntime(location: EngineLocation, options: ContainerRuntimeOptions): DisposableRuntime {
  if (location.kind === 'docker') return createDockerRuntime({ ...options, ...location });
  return createContainerdRuntime({ ...options, ...location });
}

/**
 * Access to the engine itself, beside the runtime under test. Names of containers are those that
 * {@link containerName} makes.
 */
export interface EngineControl extends AsyncDisposable {
  readonly location: EngineLocation;
  /** Names of all containers, running or not. */
  containers(): Promise<string[]>;
  /** Creates a container with a client other than the runtime, and does not start it. */
  create(name: string, image: string, labels?: Readonly<Record<string, string>>): Promise<void>;
  labelOf(name: string, label: string): Promise<string | undefined>;
  kill(name: string): Promise<void>;
  /** Adds a name to an image of the engine. */
  tag(image: string, repository: string, tag: string): Promise<void>;
  /** Removes a container, running or not. */
  remove(name: string): Promise<void>;
  untilEnded(name: string): Promise<void>;
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  start(): Promise<void>;
}

/** A private engine, a registry with the image `busybox:1`, and a runtime that uses both. */
export interface RuntimeFixture extends AsyncDisposable {
  readonly control: EngineControl;
  readonly registry: Registry;
  readonly workDirectory: string;
  /** All events of the runtimes, in order. */
  readonly events: RuntimeEvent[];
  /** The options of {@link runtime}. */
  readonly options: ContainerRuntimeOptions;
  /**
   * Releases each action as soon as it has ended, as the agent does once it has recorded the
   * result.
   */
  readonly runtime: Runtime;
  /** Creates another runtime; the options given replace those of the first. */
  createRuntime(options?: Partial<ContainerRuntimeOptions>): Runtime;
  /** The output lines so far, of the given stream or of both. */
  output(stream?: 'stdout' | 'stderr'): string[];
  /** Resolves when `predicate` is true of an event. */
  untilEvent(predicate: (event: RuntimeEvent) => boolean): Promise<void>;
}

export interface DockerFixture extends RuntimeFixture {
  readonly engine: Engine;
}

/** Starts a fixture with an engine of the kind. */
export async function startFixtureOf(kind: EngineKind, engineOptions: EngineOptions = {}): Promise<RuntimeFixture> {
  return kind === 'docker' ? await startDockerFixture(engineOptions) : await startContainerdFixture(engineOptions);
}

export async function startDockerFixture(engineOptions: EngineOptions = {}): Promise<DockerFixture> {
  const [engine, registry] = await Promise.all([startEngine(engineOptions), startRegistry()]);
  return { ...(await makeFixture(dockerControl(engine), registry)), engine };
}

async function startContainerdFixture({ started = true }: EngineOptions): Promise<RuntimeFixture> {
  const [control, registry] = await Promise.all([containerdControl(), startRegistry()]);
  const fixture = await makeFixture(control, registry);
  if (!started) await control.stop();
  return fixture;
}

async function makeFixture(control: EngineControl, registry: Registry): Promise<RuntimeFixture> {
  await registry.push('busybox:1', await busyboxImage());
  const workDirectory = await mkdtemp(join(tmpdir(), 'nibs-worker-'));
  const events: RuntimeEvent[] = [];
  const changes = new EventTarget();
  const options: ContainerRuntimeOptions = {
    workDirectory,
    registry: registry.host,
    credentials: [registry],
    privileges: 'all-available',
    stopGraceSeconds: 1,
    redact: (text) => text.replaceAll('canary', '***'),
    redactParts: () => (part) => part.replaceAll('canary', '***'),
    onEvent(event) {
      events.push(event);
      changes.dispatchEvent(new Event('event'));
    },
  };
  const runtimes: DisposableRuntime[] = [];
  const create = (own: Partial<ContainerRuntimeOptions> = {}) => {
    const runtime = createRuntime(control.location, { ...options, ...own });
    runtimes.push(runtime);
    return runtime;
  };
  return {
    ...{ control, registry, workDirectory, events, options, createRuntime: create, runtime: releasing(create()) },
    output: (stream) =>
      events.flatMap((event) =>
        event.kind === 'output' && (stream === undefined || event.stream === stream) ? [event.line] : [],
      ),
    async untilEvent(predicate) {
      const deadline = AbortSignal.timeout(patienceSeconds * 1000);
      while (!events.some(predicate)) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        changes.addEventListener('event', () => resolve(), { once: true });
        deadline.addEventListener('abort', () => reject(new Error(`no such event: ${JSON.stringify(events)}`)));
        await promise;
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(runtimes.map((runtime) => runtime[Symbol.asyncDispose]()));
      await Promise.all([control[Symbol.asyncDispose](), registry[Symbol.asyncDispose]()]);
      await rm(workDirectory, { recursive: true });
    },
  };
}

function dockerControl(engine: Engine): EngineControl {
  const { docker, start, stop } = engine;
  const container = (name: string) => docker.getContainer(name);
  return {
    ...{ location: { kind: 'docker', host: engine.host }, start, stop },
    containers: async () =>
      (await docker.listContainers({ all: true })).flatMap(({ Names }) => Names).map((name) => name.slice(1)),
    create: async (name, Image, Labels) =>
      void (await docker.createContainer({ name, Image, ...(Labels && { Labels }) })),
    labelOf: async (name, label) => (await container(name).inspect()).Config.Labels[label],
    tag: async (image, repo, tag) => void (await docker.getImage(image).tag({ repo, tag })),
    kill: async (name) => void (await container(name).kill({ signal: 'SIGKILL' })),
    remove: async (name) => void (await container(name).remove({ force: true })),
    untilEnded: async (name) => void (await container(name).wait()),
    [Symbol.asyncDispose]: () => engine[Symbol.asyncDispose](),
  };
}

async function containerdControl(): Promise<EngineControl> {
  const containerd = await startContainerd();
  const { ctr, directory, socketPath: socket, start, stop } = containerd;
  const location: EngineLocation = {
    kind: 'containerd',
    ...{ socket, namespace: 'tinkerbell', dataRoot: join(directory, 'data') },
    ...{ stateRoot: join(directory, 'run'), registryConfigPath: join(directory, 'certs.d') },
    // As in our boot image: no network but that of the machine.
    ...{ networkConfigPath: join(directory, 'net.d'), networkPluginPaths: [] },
  };
  const client = new ContainerdClient(socket, location.namespace);
  const run = (...parameters: readonly string[]) => ctr('--namespace', location.namespace, ...parameters);
  const signal = AbortSignal.timeout(3_600_000);
  return {
    ...{ location, start, stop },
    async containers() {
      const { containers } = await client.call(ContainersDefinition, 'list', { filters: [] }, { signal });
      return containers.map(({ id, labels }) => labels[labelKeys.name] ?? id);
    },
    async create(name, image, labels = {}) {
      const labelArguments = Object.entries({ ...labels, [labelKeys.name]: name }).flatMap((label) => [
        '--label',
        label.join('='),
      ]);
      await run('containers', 'create', ...labelArguments, image, idOf(name));
    },
    async labelOf(id, label) {
      const { container } = await client.call(ContainersDefinition, 'get', { id }, { signal });
      return container?.labels[label];
    },
    tag: async (image, repository, tag) => void (await run('images', 'tag', image, `${repository}:${tag}`)),
    kill: async (name) => void (await run('tasks', 'kill', '--signal', 'SIGKILL', idOf(name))),
    async remove(name) {
      const tasks = await run('tasks', 'list', '--quiet');
      if (tasks.split('\n').includes(idOf(name))) await ignoreNotFound(run('tasks', 'delete', '--force', idOf(name)));
      // The runtime under test may remove what it finds killed.
      await ignoreNotFound(run('containers', 'delete', idOf(name)));
    },
    untilEnded: async (name) =>
      void (await client.call(TasksDefinition, 'wait', { containerId: idOf(name), execId: '' }, { signal })),
    async [Symbol.asyncDispose]() {
      client.close();
      await containerd[Symbol.asyncDispose]();
    },
  };
}

async function ignoreNotFound(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof Error && error.message.includes('not found'))) throw error;
  }
}

function releasing(runtime: Runtime): Runtime {
  return {
    ...runtime,
    run: async (action, signal, beforeStop) => {
      try {
        return await runtime.run(action, signal, beforeStop);
      } finally {
        await runtime.release(action);
      }
    },
  };
}

/** An action of its own workflow that runs a command in busybox. */
export function actionOf(command: readonly string[], rest: Partial<Action> = {}): Action {
  return {
    workflowId: crypto.randomUUID(),
    taskName: 'provision',
    name: 'say something',
    id: '0',
    workerId: 'worker-1',
    image: 'busybox:1',
    registryPrefix: 'always',
    sharesDirectory: true,
    command,
    environment: [],
    volumes: [],
    timeoutSeconds: 60,
    pidMode: undefined,
    networkMode: undefined,
    onTimeout: [],
    onFailure: [],
    ...rest,
  };
}

/** The same with a line of shell. */
export function shell(script: string, rest: Partial<Action> = {}): Action {
  return actionOf(['sh', '-c', script], rest);
}
