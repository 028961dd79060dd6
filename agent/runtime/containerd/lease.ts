import { randomUUID } from 'node:crypto';
import { LeasesDefinition } from '../../../proto/containerd.pb.ts';
import { type ContainerdClient, cleanUp } from './client.ts';

/** Longer than any work takes; a lease of an agent that was killed expires. */
const leaseHours = 24;

/**
 * Until the lease ends, containerd's garbage collector keeps what is made in it, although no image
 * and no container needs it yet.
 */
export async function withLease<Result>(
  client: ContainerdClient,
  signal: AbortSignal,
  work: (lease: string) => Promise<Result>,
): Promise<Result> {
  const id = `nibs-${randomUUID()}`;
  const until = new Date(client.clock.now().getTime() + leaseHours * 3600 * 1000).toISOString();
  await client.call(LeasesDefinition, 'create', { id, labels: { 'containerd.io/gc.expire': until } }, { signal });
  try {
    return await work(id);
  } finally {
    await endLease(client, id);
  }
}

async function endLease(client: ContainerdClient, id: string): Promise<void> {
  try {
    await cleanUp(client, (options) => client.call(LeasesDefinition, 'delete', { id }, options));
  } catch {
    // containerd is gone; the lease expires.
  }
}
