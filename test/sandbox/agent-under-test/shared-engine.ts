import { busyboxImage } from '../busybox-image.ts';
import { type Engine, type EngineOptions, startEngine } from '../engine.ts';
import { pollUntil } from '../poll-until.ts';
import { type Registry, startRegistry } from '../registry.ts';

/** A private engine and a registry with the image `busybox`, for all machines of a test file. */
export interface SharedEngine extends AsyncDisposable {
  readonly engine: Engine;
  /** Its password is a canary: it must never be seen in any output. */
  readonly registry: Registry;
}

export async function startSharedEngine(options: EngineOptions = {}): Promise<SharedEngine> {
  const [engine, registry] = await Promise.all([
    startEngine(options),
    startRegistry({ password: 'canary-of-the-registry' }),
  ]);
  await registry.push('busybox', await busyboxImage());
  return {
    engine,
    registry,
    async [Symbol.asyncDispose]() {
      // The engine's own end cannot remove a container that an agent is just removing (409).
      await pollUntil(async () => (await removeContainers(engine)) === 0, 'the removal of all containers');
      await Promise.all([engine[Symbol.asyncDispose](), registry[Symbol.asyncDispose]()]);
    },
  };
}

/** Asks for the removal of all containers; returns how many there were. */
async function removeContainers({ docker }: Engine): Promise<number> {
  const containers = await docker.listContainers({ all: true });
  await Promise.allSettled(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })));
  return containers.length;
}
