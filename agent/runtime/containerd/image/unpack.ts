import { randomUUID } from 'node:crypto';
import { status } from '@grpc/grpc-js';
import { GrpcError } from '../../../../net/grpc/grpc-error.ts';
import { DiffDefinition, type Mount, SnapshotsDefinition } from '../../../../proto/containerd.pb.ts';
import { type ContentDescriptor, UnusableImageError } from '../../../../registry/manifest.ts';
import {
  alreadyExists,
  type CallOptions,
  type ContainerdClient,
  cleanUp,
  isNotFound,
  plainReasonOf,
} from '../client.ts';

/** A layer of an image, and where it belongs. */
export interface Layer {
  readonly blob: ContentDescriptor;
  /** Digest of what the blob unpacks to. */
  readonly diffId: string;
  /** Name of the snapshot below; empty for the lowest. */
  readonly parent: string;
  /** Name that the snapshot gets. */
  readonly chainId: string;
}

/** @throws {GrpcError} */
export async function snapshotExists(
  client: ContainerdClient,
  snapshotter: string,
  key: string,
  options: CallOptions,
): Promise<boolean> {
  try {
    await client.call(SnapshotsDefinition, 'stat', { snapshotter, key }, options);
    return true;
  } catch (error) {
    if (isNotFound(error)) return false;
    throw error;
  }
}

/**
 * Makes a snapshot of a layer upon the one below it. Other processes may unpack the same layer at
 * the same time: the first one makes the snapshot, and all use it.
 * @throws {UnusableImageError} the layer unpacks to something else; {GrpcError}
 */
export async function unpackLayer(
  client: ContainerdClient,
  snapshotter: string,
  layer: Layer,
  options: CallOptions,
): Promise<void> {
  const { parent, chainId } = layer;
  if (await snapshotExists(client, snapshotter, chainId, options)) return;
  // Both as containerd's client has them; the label lets a snapshotter say that it has the snapshot
  // already.
  const key = `extract-${randomUUID()} ${chainId}`;
  const labels = { 'containerd.io/snapshot.ref': chainId };
  try {
    const { mounts } = await client.call(SnapshotsDefinition, 'prepare', { snapshotter, key, parent, labels }, options);
    await applyLayer(client, layer, mounts, options);
    await client.call(SnapshotsDefinition, 'commit', { snapshotter, name: chainId, key, labels }, options);
  } catch (error) {
    await removeSnapshot(client, snapshotter, key);
    if (!alreadyExists(error)) throw error;
  }
}

async function applyLayer(
  client: ContainerdClient,
  { blob, diffId }: Layer,
  mounts: Mount[],
  options: CallOptions,
): Promise<void> {
  const { mediaType, digest, size } = blob;
  const diff = { mediaType, digest, size, annotations: {} };
  const { applied } = await client.call(DiffDefinition, 'apply', { diff, mounts }, options).catch((error: unknown) => {
    throw error instanceof GrpcError && isOfLayer(error)
      ? new UnusableImageError(`layer ${digest} cannot be unpacked: ${plainReasonOf(error)}`, { cause: error })
      : error;
  });
  if (applied?.digest === diffId) return;
  throw new UnusableImageError(`layer ${digest} unpacks to ${applied?.digest}, not to ${diffId} as the image says`);
}

/**
 * containerd has no code for a layer that is no archive; other failures have one, or are named in
 * the message.
 */
function isOfLayer({ code, details }: GrpcError): boolean {
  return (
    [status.UNKNOWN, status.INVALID_ARGUMENT, status.UNIMPLEMENTED].includes(code) && !/no space left/i.test(details)
  );
}

async function removeSnapshot(client: ContainerdClient, snapshotter: string, key: string): Promise<void> {
  try {
    await cleanUp(client, (options) => client.call(SnapshotsDefinition, 'remove', { snapshotter, key }, options));
  } catch {
    // It was never made, or containerd is gone; it goes with the lease.
  }
}
