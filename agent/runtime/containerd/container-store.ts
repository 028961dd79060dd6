import { type Container, ContainersDefinition, SnapshotsDefinition } from '../../../proto/containerd.pb.ts';
import { EngineError } from '../engine-error.ts';
import { alreadyExists, type ContainerdClient, ignoreIf, isNotFound } from './client.ts';

/** What unpacks and mounts the layers of images. In every containerd. */
export const snapshotter = 'overlayfs';

/**
 * Containers as containerd stores them: a record, and a snapshot for the file system. What runs in
 * them is not here.
 */
export class ContainerStore {
  readonly #client: ContainerdClient;

  constructor(client: ContainerdClient) {
    this.#client = client;
  }

  /** @param labels see {@link Engine.listContainers} */
  async list(labels: readonly string[], signal: AbortSignal): Promise<readonly Container[]> {
    const filters = [labels.map(toFilter).join(',')];
    return (await this.#client.call(ContainersDefinition, 'list', { filters }, { signal })).containers;
  }

  /** @throws {EngineError} `no-such-container` */
  async get(id: string, signal: AbortSignal): Promise<Container> {
    const response = await ignoreIf(isNotFound, this.#client.call(ContainersDefinition, 'get', { id }, { signal }));
    if (response?.container !== undefined) return response.container;
    throw new EngineError('no-such-container', {
      what: 'find',
      target: `the container ${id}`,
      why: 'it does not exist',
    });
  }

  /**
   * Stores the record before the file system is made: what is half made is found as a container
   * that was never started.
   * @param parent name of the image's snapshot
   */
  async create(container: Container, parent: string, signal: AbortSignal): Promise<void> {
    const { id } = container;
    try {
      await this.#client.call(ContainersDefinition, 'create', { container }, { signal });
    } catch (error) {
      // A request that is made again because the first one's response got lost; that may not have
      // come further than this.
      if (alreadyExists(error)) await this.#prepareSnapshot(id, parent, signal);
      throw error;
    }
    await this.#prepareSnapshot(id, parent, signal);
  }

  /** Adds labels; others stay. */
  async setLabels(id: string, labels: Readonly<Record<string, string>>, signal: AbortSignal): Promise<void> {
    const container: Container = {
      ...{ id, labels: { ...labels }, image: '', runtime: undefined, spec: undefined },
      ...{ snapshotter: '', snapshotKey: '', createdAt: undefined },
    };
    const updateMask = Object.keys(labels).map((label) => `labels.${label}`);
    await this.#client.call(ContainersDefinition, 'update', { container, updateMask }, { signal });
  }

  /** How its file system is mounted. */
  async mounts(id: string, signal: AbortSignal) {
    return (await this.#client.call(SnapshotsDefinition, 'mounts', { snapshotter, key: id }, { signal })).mounts;
  }

  async removeSnapshot(id: string, signal: AbortSignal): Promise<void> {
    const request = { snapshotter, key: id };
    await ignoreIf(isNotFound, this.#client.call(SnapshotsDefinition, 'remove', request, { signal }));
  }

  async removeRecord(id: string, signal: AbortSignal): Promise<void> {
    await this.#client.call(ContainersDefinition, 'delete', { id }, { signal });
  }

  async #prepareSnapshot(id: string, parent: string, signal: AbortSignal): Promise<void> {
    const snapshot = { snapshotter, key: id, parent, labels: {} };
    await ignoreIf(alreadyExists, this.#client.call(SnapshotsDefinition, 'prepare', snapshot, { signal }));
  }
}

/** containerd's filters quote as Go does, which for these texts is as JSON does. */
function toFilter(label: string): string {
  const [name = '', ...value] = label.split('=');
  const field = `labels.${JSON.stringify(name)}`;
  return value.length === 0 ? field : `${field}==${JSON.stringify(value.join('='))}`;
}
