import { type ContainerRuntimeOptions, createContainerRuntime, type DisposableRuntime } from '../container-runtime.ts';
import { createDockerEngine } from './engine.ts';

export interface DockerRuntimeOptions extends ContainerRuntimeOptions {
  /** Where the engine answers: `unix:///path`, `tcp://host:port` or the path of a socket. */
  readonly host: string;
}

/**
 * Makes the runtime for a Docker Engine, or for what answers its API. Nothing is sent before the
 * first action.
 */
export function createDockerRuntime(options: DockerRuntimeOptions): DisposableRuntime {
  return createContainerRuntime(createDockerEngine(options.host), options.host, options);
}
