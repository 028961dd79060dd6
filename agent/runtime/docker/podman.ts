import type Docker from 'dockerode';
import { z } from 'zod';
import { type DialRequest, dial } from './dial.ts';

/**
 * Whether the engine is Podman. Its service speaks Docker's API, and differs in a few things.
 * @throws what dockerode throws; an `AbortError` when the signal is aborted
 */
export async function isPodman(docker: Docker, signal: AbortSignal): Promise<boolean> {
  const { Components } = version.parse(await dial(docker, versionRequest, signal));
  return Components.some(({ Name }) => Name === 'Podman Engine');
}

/**
 * Whether Podman has the program that makes its networks. Without one it lists a network with a
 * bridge too, which no container can use.
 * @throws what dockerode throws; an `AbortError` when the signal is aborted
 */
export async function canMakeNetworks(docker: Docker, signal: AbortSignal): Promise<boolean> {
  const { host } = podmanInformation.parse(await dial(docker, podmanInformationRequest, signal));
  return host.networkBackendInfo.version !== '';
}

const versionRequest: DialRequest = {
  method: 'GET',
  path: '/version',
  statusCodes: { 200: true, 500: 'server error' },
};

/** Engine API, "Get version". */
const version = z.object({
  Components: z
    .array(z.object({ Name: z.string() }))
    .nullish()
    .transform((given) => given ?? []),
});

/** Podman's own API, which has the version in its paths; 4.0.0 is the oldest that it knows. */
const podmanInformationRequest: DialRequest = {
  method: 'GET',
  path: '/v4.0.0/libpod/info',
  statusCodes: { 200: true, 500: 'server error' },
};

/** Podman's API, "Get info". The version is what the program prints; empty if it prints none. */
const podmanInformation = z.object({
  host: z.object({ networkBackendInfo: z.object({ version: z.string().default('') }).default({ version: '' }) }),
});
