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
import { type Registry, startRegistry } from '../../sandbox/registry.ts';

/** The engines whose API the agent speaks. */
export const engineKinds = ['docker', 'containerd'] as const;

export type EngineKind = (typeof engineKinds)[number];

/** Where an engine is; plain data, so that it can be given to another process. */
export type Place =
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

export function createRuntime(place: Place, options: ContainerRuntimeOptions): DisposableRuntime {
  if (place.kind === 'docker') return createDockerRuntime({ ...options, ...place });
  return createContainerdRuntime({ ...options, ...place });
}

/** What a test wants of the engine itself, besides our runtime. Containers have their names as {@link containerName} makes them. */
export interface Bench extends AsyncDisposable {
  readonly place: Place;
  /** Names of all containers, running or not. */
  containers(): Promise<string[]>;
  /** Makes a container of somebody else and does not start it. */
  create(name: string, image: string, labels?: Readonly<Record<string, string>>): Promise<void>;
  labelOf(name: string, label: string): Promise<string | undefined>;
  kill(name: string): Promise<void>;
  /** Gives an image that is there a further name. */
  tag(image: string, repository: string, tag: string): Promise<void>;
  /** Whatever it does. */
  remove(name: string): Promise<void>;
  untilEnded(name: string): Promise<void>;
  stop(signal?: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  start(): Promise<void>;
}

/** A private engine, a registry with the image `busybox:1`, and a runtime that uses both. */
export interface Workshop extends AsyncDisposable {
  readonly bench: Bench;
  readonly registry: Registry;
  readonly workDirectory: string;
  /** Everything the runtimes told, in order. */
  readonly events: RuntimeEvent[];
  /** The options of {@link runtime}. */
  readonly options: ContainerRuntimeOptions;
  /** Releases each action as soon as it has ended, as the agent does once it has recorded the end. */
  readonly runtime: Runtime;
  /** A further one, with some options of its own. */
  createRuntime(options?: Partial<ContainerRuntimeOptions>): Runtime;
  /** The output lines so far, of the given stream or of both. */
  output(stream?: 'stdout' | 'stderr'): string[];
  /** Waits until an event of which `predicate` is true has been told. */
  told(predicate: (event: RuntimeEvent) => boolean): Promise<void>;
}

export interface DockerWorkshop extends Workshop {
  readonly engine: Engine;
}

/** Sets one up with an engine of the kind. */
export async function startWorkshopOf(kind: EngineKind, engineOptions: EngineOptions = {}): Promise<Workshop> {
  return kind === 'docker' ? await startWorkshop(engineOptions) : await startContainerdWorkshop(engineOptions);
}

export async function startWorkshop(engineOptions: EngineOptions = {}): Promise<DockerWorkshop> {
  const [engine, registry] = await Promise.all([startEngine(engineOptions), startRegistry()]);
  return { ...(await furnish(dockerBench(engine), registry)), engine };
}

async function startContainerdWorkshop({ started = true }: EngineOptions): Promise<Workshop> {
  const [bench, registry] = await Promise.all([containerdBench(), startRegistry()]);
  const workshop = await furnish(bench, registry);
  if (!started) await bench.stop();
  return workshop;
}

async function furnish(bench: Bench, registry: Registry): Promise<Workshop> {
  await registry.push('busybox:1', await busyboxImage());
  const workDirectory = await mkdtemp(join(tmpdir(), 'nibs-worker-'));
  const events: RuntimeEvent[] = [];
  const news = new EventTarget();
  const options: ContainerRuntimeOptions = {
    workDirectory,
    registry: registry.host,
    credentials: [registry],
    privileges: 'all-available',
    stopGraceSeconds: 1,
    redact: (text) => text.replaceAll('canary', '***'),
    onEvent(event) {
      events.push(event);
      news.dispatchEvent(new Event('news'));
    },
  };
  const runtimes: DisposableRuntime[] = [];
  const create = (own: Partial<ContainerRuntimeOptions> = {}) => {
    const runtime = createRuntime(bench.place, { ...options, ...own });
    runtimes.push(runtime);
    return runtime;
  };
  return {
    ...{ bench, registry, workDirectory, events, options, createRuntime: create, runtime: releasing(create()) },
    output: (stream) =>
      events.flatMap((event) =>
        event.kind === 'output' && (stream === undefined || event.stream === stream) ? [event.line] : [],
      ),
    async told(predicate) {
      const deadline = AbortSignal.timeout(60_000);
      while (!events.some(predicate)) {
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        news.addEventListener('news', () => resolve(), { once: true });
        deadline.addEventListener('abort', () => reject(new Error(`not told: ${JSON.stringify(events)}`)));
        await promise;
      }
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(runtimes.map((runtime) => runtime[Symbol.asyncDispose]()));
      await Promise.all([bench[Symbol.asyncDispose](), registry[Symbol.asyncDispose]()]);
      await rm(workDirectory, { recursive: true });
    },
  };
}

function dockerBench(engine: Engine): Bench {
  const { docker, start, stop } = engine;
  const container = (name: string) => docker.getContainer(name);
  return {
    ...{ place: { kind: 'docker', host: engine.host }, start, stop },
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

async function containerdBench(): Promise<Bench> {
  const containerd = await startContainerd();
  const { ctr, directory, socketPath: socket, start, stop } = containerd;
  const place: Place = {
    kind: 'containerd',
    ...{ socket, namespace: 'tinkerbell', dataRoot: join(directory, 'data') },
    ...{ stateRoot: join(directory, 'run'), registryConfigPath: join(directory, 'certs.d') },
    // As our boot image and the engine beside it: no network but that of the machine.
    ...{ networkConfigPath: join(directory, 'net.d'), networkPluginPaths: [] },
  };
  const client = new ContainerdClient(socket, place.namespace);
  const control = (...parameters: readonly string[]) => ctr('--namespace', place.namespace, ...parameters);
  const signal = AbortSignal.timeout(3_600_000);
  return {
    ...{ place, start, stop },
    async containers() {
      const { containers } = await client.call(ContainersDefinition, 'list', { filters: [] }, { signal });
      return containers.map(({ id, labels }) => labels[labelKeys.name] ?? id);
    },
    async create(name, image, labels = {}) {
      const given = Object.entries({ ...labels, [labelKeys.name]: name }).flatMap((label) => [
        '--label',
        label.join('='),
      ]);
      await control('containers', 'create', ...given, image, idOf(name));
    },
    async labelOf(id, label) {
      const { container } = await client.call(ContainersDefinition, 'get', { id }, { signal });
      return container?.labels[label];
    },
    tag: async (image, repository, tag) => void (await control('images', 'tag', image, `${repository}:${tag}`)),
    kill: async (name) => void (await control('tasks', 'kill', '--signal', 'SIGKILL', idOf(name))),
    async remove(name) {
      const tasks = await control('tasks', 'list', '--quiet');
      if (tasks.split('\n').includes(idOf(name))) await unlessGone(control('tasks', 'delete', '--force', idOf(name)));
      // The runtime under test may remove what it finds killed.
      await unlessGone(control('containers', 'delete', idOf(name)));
    },
    untilEnded: async (name) =>
      void (await client.call(TasksDefinition, 'wait', { containerId: idOf(name), execId: '' }, { signal })),
    async [Symbol.asyncDispose]() {
      client.close();
      await containerd[Symbol.asyncDispose]();
    },
  };
}

async function unlessGone(work: Promise<unknown>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof Error && error.message.includes('not found'))) throw error;
  }
}

function releasing(runtime: Runtime): Runtime {
  return {
    ...runtime,
    run: async (action, signal) => {
      try {
        return await runtime.run(action, signal);
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
