import type { HostConfig } from 'dockerode';

/**
 * Calls `create`, again without each capability that the engine refuses to drop. Those are not given to the container either: Docker before 23 does
 * not know the newest ones, later ones refuse those that dockerd itself lacks (moby's oci/caps).
 *
 * @throws what `create` throws otherwise
 */
export async function withAcceptedCapabilities<Result>(
  wanted: HostConfig,
  create: (accepted: HostConfig) => Promise<Result>,
): Promise<Result> {
  for (let settings = wanted; ; ) {
    try {
      return await create(settings);
    } catch (error) {
      const refused = refusedCapability(error);
      const drops: readonly string[] = settings.CapDrop ?? [];
      if (refused === undefined || !drops.includes(refused)) throw error;
      settings = { ...settings, CapDrop: drops.filter((capability) => capability !== refused) };
    }
  }
}

function refusedCapability(error: unknown): string | undefined {
  return error instanceof Error ? /\binvalid CapDrop: .*"CAP_(\w+)"/.exec(error.message)?.[1] : undefined;
}
