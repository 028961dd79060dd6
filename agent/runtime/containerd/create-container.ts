import { join } from 'node:path';
import { type Container, SnapshotsDefinition } from '../../../proto/containerd.pb.ts';
import type { ImageSettings } from '../../../registry/manifest.ts';
import type { ContainerSpec } from '../container-spec.ts';
import { EngineError } from '../engine-error.ts';
import { type ContainerdClient, ignoreIf, isNotFound } from './client.ts';
import { type ContainerStore, snapshotter } from './container-store.ts';
import { type ImageStore, imageConfiguration } from './image/pull.ts';
import { withLease } from './lease.ts';
import type { ContainerNetworks } from './network/container-networks.ts';
import { idOf, labelKeys } from './record.ts';
import { type ContainerUser, resolveUser } from './spec/container-user.ts';
import { makeSpec } from './spec/oci-spec.ts';
import { withMounted } from './spec/snapshot-mount.ts';

/** What containers are made with. */
export interface ContainerParts {
  readonly client: ContainerdClient;
  readonly images: ImageStore;
  readonly containers: ContainerStore;
  readonly networks: ContainerNetworks;
  /** Holds a directory for each named volume. */
  readonly volumesDirectory: string;
  /** Directory of a container for its pipes, files and network namespace. */
  directoryOf(id: string): string;
}

/** Of the shim that starts the container; in every containerd since 1.2. */
const shim = 'io.containerd.runc.v2';
const specType = 'types.containerd.io/opencontainers/runtime-spec/1/Spec';

/**
 * Makes a container; it has no processes yet.
 * @returns its id
 * @throws {EngineError} there is no such image; {GrpcError}; {SpecError}; {NetworkError}
 */
export async function createContainer(
  parts: ContainerParts,
  spec: ContainerSpec,
  signal: AbortSignal,
): Promise<string> {
  const { images, networks, containers } = parts;
  const { name } = spec;
  const id = idOf(name);
  const image = await imageConfiguration(images, spec.image, signal);
  if (image === undefined) throw noSuchImage(spec);
  const { config, chainId } = image;
  const network = await networks.kindOf(spec.network, signal);
  const hostname = hostnameOf(id, name);
  const at = (file: string) => join(parts.directoryOf(id), file);
  const runtimeSpec = await makeSpec({
    ...{ id, spec, image: config, hostname },
    user: await userOf(parts.client, id, config, chainId, signal),
    networkNamespace: networks.namespaceOf(parts.directoryOf(id), network),
    files: { resolvConf: at('resolv.conf'), hosts: at('hosts'), hostname: at('hostname') },
    volumesDirectory: parts.volumesDirectory,
    namespace: parts.client.namespace,
  });
  const container: Container = {
    id,
    labels: {
      ...spec.labels,
      [labelKeys.name]: name,
      [labelKeys.hostname]: hostname,
      [labelKeys.network]: network,
      ...(config.StopSignal && { [labelKeys.stopSignal]: config.StopSignal }),
    },
    image: spec.image,
    runtime: { name: shim, options: undefined },
    spec: { typeUrl: specType, value: Buffer.from(JSON.stringify(runtimeSpec)) },
    ...{ snapshotter, snapshotKey: id, createdAt: undefined },
  };
  await containers.create(container, chainId, signal);
  return id;
}

/** The name, or as much of the id as is valid for a hostname. */
export function hostnameOf(id: string, name: string): string {
  return name || id.slice(0, 63);
}

function noSuchImage({ name, image }: ContainerSpec): EngineError {
  const why = `there is no image ${image}`;
  return new EngineError('refused', { what: 'create', target: `the container ${name}`, why });
}

/** Names are looked up in the image; most images name no user, and mean root. */
async function userOf(
  client: ContainerdClient,
  id: string,
  { User: user }: ImageSettings,
  chainId: string,
  signal: AbortSignal,
): Promise<ContainerUser> {
  if (!user) return { uid: 0, gid: 0, additionalGids: [] };
  const key = `${id}-user`;
  const remove = () =>
    ignoreIf(isNotFound, client.call(SnapshotsDefinition, 'remove', { snapshotter, key }, { signal }));
  await remove();
  return await withLease(client, signal, async (lease) => {
    const view = { snapshotter, key, parent: chainId, labels: {} };
    const { mounts } = await client.call(SnapshotsDefinition, 'view', view, { signal, lease });
    try {
      return await withMounted(mounts, (rootfs) => resolveUser(user, rootfs));
    } finally {
      await remove();
    }
  });
}
