import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Action } from '../../../agent/action.ts';
import { createDockerRuntime, type DockerRuntimeOptions } from '../../../agent/runtime/docker.ts';
import type { RuntimeEvent } from '../../../agent/runtime/event.ts';
import type { Runtime } from '../../../agent/runtime/runtime.ts';
import { busyboxImage } from '../../sandbox/busybox-image.ts';
import { type Engine, type EngineOptions, startEngine } from '../../sandbox/engine.ts';
import { type Registry, startRegistry } from '../../sandbox/registry.ts';

/** A private engine, a registry with the image `busybox:1`, and a runtime that uses both. */
export interface Workshop extends AsyncDisposable {
  readonly engine: Engine;
  readonly registry: Registry;
  readonly workDirectory: string;
  /** Everything the runtimes told, in order. */
  readonly events: RuntimeEvent[];
  /** The options of {@link runtime}. */
  readonly options: DockerRuntimeOptions;
  /** Releases each action as soon as it has ended, as the agent does once it has recorded the end. */
  readonly runtime: Runtime;
  /** The output lines so far, of the given stream or of both. */
  output(stream?: 'stdout' | 'stderr'): string[];
  /** Waits until an event of which `predicate` is true has been told. */
  told(predicate: (event: RuntimeEvent) => boolean): Promise<void>;
}

/** Sets one up; what the actions print is kept. */
export async function startWorkshop(
  settings: Partial<DockerRuntimeOptions> = {},
  engineOptions: EngineOptions = {},
): Promise<Workshop> {
  const [engine, registry] = await Promise.all([startEngine(engineOptions), startRegistry()]);
  await registry.push('busybox:1', await busyboxImage());
  const workDirectory = await mkdtemp(join(tmpdir(), 'nibs-worker-'));
  const events: RuntimeEvent[] = [];
  const news = new EventTarget();
  const options: DockerRuntimeOptions = {
    host: engine.host,
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
    ...settings,
  };
  return {
    ...{ engine, registry, workDirectory, events, options, runtime: releasing(createDockerRuntime(options)) },
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
      await Promise.all([engine[Symbol.asyncDispose](), registry[Symbol.asyncDispose]()]);
      await rm(workDirectory, { recursive: true });
    },
  };
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
