import type { Clock } from '../clock/clock.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Redactor } from './log/redact.ts';
import type { ContainerRuntimeOptions, DisposableRuntime } from './runtime/container-runtime.ts';
import type { OnRuntimeEvent } from './runtime/event.ts';
import { registryCredentialsFrom } from './settings/credentials.ts';
import type { Config } from './settings/settings.ts';

export interface RuntimeDependencies {
  readonly clock: Clock;
  readonly redactor: Redactor;
  readonly onEvent: OnRuntimeEvent;
}

/**
 * Creates the runtime that the configuration names. Loads only the client of its engine, whose
 * connections are closed when the runtime is disposed of.
 */
export async function createRuntime(
  config: Config,
  { clock, redactor, onEvent }: RuntimeDependencies,
): Promise<DisposableRuntime> {
  const options: ContainerRuntimeOptions = {
    clock,
    workDirectory: config.workDirectory,
    imageDirectory: config.imageDirectory,
    network: config.network === 'auto' ? undefined : config.network,
    registry: config.dockerRegistry,
    prefix: config.registryPrefix === 'auto' ? undefined : config.registryPrefix,
    credentials: registryCredentialsFrom(config),
    mirrors: config.registryMirrors,
    dockerConfigDirectory: config.dockerConfig,
    pullTimeoutSeconds: config.pullTimeoutSeconds,
    defaultTimeoutSeconds: config.actionTimeoutSeconds,
    stopGraceSeconds: config.stopGraceSeconds,
    privileges: config.privileged ? 'privileged' : 'all-available',
    redact: redactor.redact,
    redactParts: redactor.redactParts,
    onEvent,
  };
  switch (config.runtime) {
    case 'docker': {
      const { createDockerRuntime } = await import('./runtime/docker/runtime.ts');
      return createDockerRuntime({ ...options, host: config.dockerHost });
    }
    case 'containerd': {
      const { createContainerdRuntime, sweepSnapshotMounts } = await import('./runtime/containerd/runtime.ts');
      await sweepSnapshotMounts().catch((error: unknown) => {
        const message = redactor.redact(`cannot unmount what an earlier agent left: ${reasonOf(error)}`);
        void onEvent({ kind: 'engine-warning', message });
      });
      return createContainerdRuntime({
        ...options,
        socket: config.containerdSocket,
        namespace: config.containerdNamespace,
        dataRoot: config.containerdDataRoot,
        registryConfigPath: config.containerdRegistryConfigPath,
      });
    }
  }
}
