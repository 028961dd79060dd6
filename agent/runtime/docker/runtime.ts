import { type ContainerRuntimeOptions, createContainerRuntime } from '../container-runtime.ts';
import type { Runtime } from '../runtime.ts';
import { connectDocker } from './api.ts';

export interface DockerRuntimeOptions extends ContainerRuntimeOptions {
  /** Where the engine answers: `unix:///path`, `tcp://host:port` or the path of a socket. */
  readonly host: string;
}

/** Makes the runtime for a Docker Engine, or for what answers its API. Nothing is sent before the first action. */
export function createDockerRuntime(options: DockerRuntimeOptions): Runtime {
  return createContainerRuntime(connectDocker(options.host), options.host, options);
}
