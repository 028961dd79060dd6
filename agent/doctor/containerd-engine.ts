import type { Clock } from '../../clock/clock.ts';
import { VersionDefinition } from '../../proto/containerd.pb.ts';
import { ContainerdClient } from '../runtime/containerd/client.ts';
import { createContainerdEngine } from '../runtime/containerd/engine.ts';
import type { Config } from '../settings/settings.ts';
import type { OpenedEngine } from './engine-check.ts';

export function openContainerdEngine(config: Config, clock: Clock): OpenedEngine {
  const { containerdSocket: socket, containerdNamespace: namespace } = config;
  return {
    engine: createContainerdEngine({
      ...{ clock, socket, namespace },
      dataRoot: config.containerdDataRoot,
      registryConfigPath: config.containerdRegistryConfigPath,
      // What it warns of concerns containers, of which none is made.
      warn: () => {},
    }),
    async describe(signal) {
      const client = new ContainerdClient(socket, namespace, clock);
      try {
        const { version } = await client.call(VersionDefinition, 'version', {}, { signal });
        // Its API does not tell the directory of its images.
        return { description: `containerd ${version} at ${socket}, namespace ${namespace}`, imageStore: undefined };
      } finally {
        client.close();
      }
    },
  };
}
