import { z } from 'zod';
import { createDockerClient } from '../runtime/docker/client.ts';
import { createDockerEngine } from '../runtime/docker/engine.ts';
import { request } from '../runtime/docker/engine-error.ts';
import type { OpenedEngine } from './engine-check.ts';

/** Engine API, "Get version" and "Get system information". */
const versionSchema = z.object({
  Version: z.string().default(''),
  Components: z.array(z.object({ Name: z.string(), Version: z.string() })).default([]),
});
const infoSchema = z.object({ DockerRootDir: z.string().optional(), Driver: z.string().default('') });

/** @param host as the setting `docker-host` */
export function openDockerEngine(host: string): OpenedEngine {
  return {
    engine: createDockerEngine(host),
    async describe(_signal) {
      using client = createDockerClient(host);
      const { docker } = client;
      const operation = { what: 'read the version of', target: 'the engine' };
      const [version, info] = await request(operation, () => Promise.all([docker.version(), docker.info()]));
      const { Version, Components } = versionSchema.parse(version);
      const { DockerRootDir, Driver } = infoSchema.parse(info);
      // Podman calls itself by the name of its component.
      const name = Components.find(({ Name }) => /podman/i.test(Name)) === undefined ? 'Docker' : 'Podman';
      const isLocal = host.startsWith('/') || host.startsWith('unix:');
      return {
        description: `${name} ${Version} at ${host}, storage driver ${Driver}`,
        imageStore: isLocal ? DockerRootDir : undefined,
      };
    },
  };
}
