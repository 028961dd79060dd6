import type { HostConfig } from 'dockerode';

/** Capabilities that the engine has refused to drop: it is not asked again for each container. */
const refusedBefore = new Set<string>();

/**
 * Calls `create`, and again without each capability that the engine refuses to drop. The container
 * does not get those either: Docker before 23 does not know the newest ones, later ones refuse
 * those that dockerd itself lacks (moby's oci/caps).
 *
 * @param wanted with all capabilities that are to be dropped
 * @throws what `create` throws for another reason
 */
export async function withAcceptedCapabilities<Result>(
  wanted: HostConfig,
  create: (accepted: HostConfig) => Promise<Result>,
): Promise<Result> {
  for (;;) {
    const drops: readonly string[] = wanted.CapDrop ?? [];
    const accepted = drops.filter((capability) => !refusedBefore.has(capability));
    try {
      return await create(drops.length === 0 ? wanted : { ...wanted, CapDrop: accepted });
    } catch (error) {
      const refused = refusedCapability(error);
      if (refused === undefined || !accepted.includes(refused)) throw error;
      refusedBefore.add(refused);
    }
  }
}

function refusedCapability(error: unknown): string | undefined {
  return error instanceof Error ? /\binvalid CapDrop: .*"CAP_(\w+)"/.exec(error.message)?.[1] : undefined;
}
