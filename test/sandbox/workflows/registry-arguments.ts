import type { Registry } from '../registry.ts';

/** Kernel arguments with which the original provisioner names its registry. */
export function registryArguments(address: string, { username, password }: Registry): string[] {
  return [
    `docker_registry=${address}`,
    ...[`registry_username=${username}`, `registry_password=${password}`],
    `packet_base_url=http://${address}/workflow`,
  ];
}
