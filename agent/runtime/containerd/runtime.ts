import { type ContainerRuntimeOptions, createContainerRuntime, type DisposableRuntime } from '../container-runtime.ts';
import { type ContainerdOptions, createContainerdEngine } from './engine.ts';

export { sweepSnapshotMounts } from './spec/snapshot-mount.ts';

export interface ContainerdRuntimeOptions extends ContainerRuntimeOptions, Omit<ContainerdOptions, 'warn'> {}

/** Makes the runtime for containerd's own API. Nothing is sent before the first action. */
export function createContainerdRuntime(options: ContainerdRuntimeOptions): DisposableRuntime {
  const { redact, onEvent } = options;
  const warn = (message: string) => void onEvent({ kind: 'engine-warning', message: redact(message) });
  return createContainerRuntime(createContainerdEngine({ ...options, warn }), options.socket, options);
}
