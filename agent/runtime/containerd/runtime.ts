import { type ContainerRuntimeOptions, createContainerRuntime } from '../container-runtime.ts';
import type { Runtime } from '../runtime.ts';
import { type ContainerdOptions, connectContainerd } from './api.ts';

export interface ContainerdRuntimeOptions extends ContainerRuntimeOptions, Omit<ContainerdOptions, 'warn'> {}

/** Makes the runtime for containerd's own API. Nothing is sent before the first action. */
export function createContainerdRuntime(options: ContainerdRuntimeOptions): Runtime {
  const { redact, onEvent } = options;
  const warn = (message: string) => void onEvent({ kind: 'engine-warning', message: redact(message) });
  return createContainerRuntime(connectContainerd({ ...options, warn }), options.socket, options);
}
