import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { SpecError } from '../spec/spec-error.ts';
import { unlessGone } from '../unless-gone.ts';
import {
  createNetworkNamespace,
  loadNetwork,
  type Network,
  type NetworkOptions,
  removeNetworkNamespace,
} from './cni.ts';
import { networkFiles } from './network-files.ts';

/** What a container has: the machine's network, none but its own loopback, or one by the plug-ins of the Container Network Interface. */
export type NetworkKind = 'host' | 'none' | 'cni';

const noDns = { nameservers: [], domain: '', search: [], options: [] };

/** Connects containers, each with a directory of its own for what belongs to that. */
export class ContainerNetworks {
  readonly #options: NetworkOptions;

  constructor(options: NetworkOptions) {
    const told = new Set<string>();
    // The network is loaded several times for each container, and what it lacks is worth saying once.
    const warn = (message: string) => {
      if (!told.has(message)) options.warn(message);
      told.add(message);
    };
    this.#options = { ...options, warn };
  }

  /** Whether there are plug-ins for containers that ask for no network by name. */
  async isAvailable(): Promise<boolean> {
    return (await loadNetwork(this.#options)) !== undefined;
  }

  /**
   * @param mode in Docker's words
   * @throws {SpecError} there is no such network
   */
  async kindOf(mode = 'default'): Promise<NetworkKind> {
    if (mode === 'host' || mode === 'none') return mode;
    if (!['default', 'bridge', ''].includes(mode))
      throw new SpecError(`there is no network ${mode} with containerd: it can be "host", "none" or "default"`);
    await this.#load();
    return 'cni';
  }

  /** Where the network namespace of a container is; `undefined`: it is the machine's. */
  namespaceOf(directory: string, kind: NetworkKind): string | undefined {
    return kind === 'host' ? undefined : join(directory, 'netns');
  }

  /**
   * Makes its network, and the files that tell it about that. What is left of an attempt that was cut off is cleared away.
   * @throws {NetworkError}, {SpecError}
   */
  async connect(id: string, directory: string, kind: NetworkKind, hostname: string): Promise<void> {
    const namespace = this.namespaceOf(directory, kind);
    if (namespace === undefined) {
      await networkFiles(directory, { hostname, addresses: [], dns: noDns, onHostNetwork: true });
      return;
    }
    if ((await unlessGone(stat(namespace))) !== undefined) await this.disconnect(id, directory, kind);
    await createNetworkNamespace(namespace);
    const { addresses, dns } =
      kind === 'cni' ? await (await this.#load()).attach(id, namespace) : { addresses: [], dns: noDns };
    await networkFiles(directory, { hostname, addresses, dns, onHostNetwork: false });
  }

  /** Fine if nothing is there. @throws {NetworkError} */
  async disconnect(id: string, directory: string, kind: NetworkKind): Promise<void> {
    const namespace = this.namespaceOf(directory, kind);
    if (namespace === undefined) return;
    if (kind === 'cni') await (await loadNetwork(this.#options))?.detach(id, namespace);
    await removeNetworkNamespace(namespace);
  }

  async #load(): Promise<Network> {
    const network = await loadNetwork(this.#options);
    if (network !== undefined) return network;
    const places = this.#options.binDirectories.join(' or ');
    throw new SpecError(
      `there are no plug-ins for a network of its own (bridge, host-local and loopback in ${places}); the network "host" needs none`,
    );
  }
}
