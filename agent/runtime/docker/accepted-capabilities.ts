import type { HostConfig } from 'dockerode';

/**
 * Calls `create`, and again without each capability that the engine refuses to drop. The container
 * does not get those either: Docker before 23 does not know the newest ones, later ones refuse
 * those that dockerd itself lacks (moby's oci/caps).
 *
 * @param wanted with all capabilities that are to be dropped
 * @param refused capabilities that this engine has refused to drop, which is not asked again for
 * each container; those that it refuses now are added
 * @throws what `create` throws for another reason
 */
export async function withAcceptedCapabilities<Result>(
  wanted: HostConfig,
  refused: Set<string>,
  create: (accepted: HostConfig) => Promise<Result>,
): Promise<Result> {
  for (;;) {
    const drops: readonly string[] = wanted.CapDrop ?? [];
    const accepted = drops.filter((capability) => !refused.has(capability));
    try {
      return await create(drops.length === 0 ? wanted : { ...wanted, CapDrop: accepted });
    } catch (error) {
      const capability = refusedCapability(error);
      if (capability === undefined || !accepted.includes(capability)) throw error;
      refused.add(capability);
    }
  }
}

function refusedCapability(error: unknown): string | undefined {
  return error instanceof Error ? /\binvalid CapDrop: .*"CAP_(\w+)"/.exec(error.message)?.[1] : undefined;
}
