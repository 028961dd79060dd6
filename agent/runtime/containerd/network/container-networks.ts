import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { ignoreMissing } from '../ignore-missing.ts';
import { SpecError } from '../spec/spec-error.ts';
import {
  createNetworkNamespace,
  loadNetwork,
  type Network,
  type NetworkOptions,
  removeNetworkNamespace,
} from './cni.ts';
import { networkFiles } from './network-files.ts';

/**
 * Network of a container: the machine's, none but its own loopback, or one by the plug-ins of the
 * Container Network Interface.
 */
export type NetworkKind = 'host' | 'none' | 'cni';

const noDns = { nameservers: [], domain: '', search: [], options: [] };

/** Connects containers to networks. Each container has a directory for the files of its network. */
export class ContainerNetworks {
  readonly #options: NetworkOptions;

  constructor(options: NetworkOptions) {
    const reported = new Set<string>();
    // The network is loaded several times for each container; a warning is logged once.
    const warn = (message: string) => {
      if (!reported.has(message)) options.warn(message);
      reported.add(message);
    };
    this.#options = { ...options, warn };
  }

  /** Whether there are plug-ins for containers that ask for no network by name. */
  async isAvailable(signal: AbortSignal): Promise<boolean> {
    return (await loadNetwork(this.#options, signal)) !== undefined;
  }

  /**
   * @param mode see {@link ContainerSpec}
   * @throws {SpecError} there is no such network; the reason of the signal
   */
  async kindOf(mode: string | undefined, signal: AbortSignal): Promise<NetworkKind> {
    if (mode === 'host' || mode === 'none') return mode;
    if (!['default', 'bridge', ''].includes(mode ?? 'default')) {
      const why = 'with containerd it can be "host", "none" or "default"';
      throw new SpecError({ what: 'use', target: `the network ${mode}`, why });
    }
    await this.#load(signal);
    return 'cni';
  }

  /** Where the network namespace of a container is; `undefined`: it is the machine's. */
  namespaceOf(directory: string, kind: NetworkKind): string | undefined {
    return kind === 'host' ? undefined : join(directory, 'netns');
  }

  /**
   * Makes the network of a container, and the files in which it finds its addresses and servers.
   * What is left of an interrupted attempt is removed.
   * @throws {NetworkError}; {SpecError}; the reason of the signal
   */
  async connect(
    id: string,
    directory: string,
    kind: NetworkKind,
    hostname: string,
    signal: AbortSignal,
  ): Promise<void> {
    const namespace = this.namespaceOf(directory, kind);
    if (namespace === undefined) {
      await networkFiles(directory, { hostname, addresses: [], dns: noDns, onHostNetwork: true });
      return;
    }
    if ((await ignoreMissing(stat(namespace))) !== undefined) await this.disconnect(id, directory, kind, signal);
    await createNetworkNamespace(namespace, signal);
    const { addresses, dns } =
      kind === 'cni' ? await (await this.#load(signal)).attach(id, namespace, signal) : { addresses: [], dns: noDns };
    await networkFiles(directory, { hostname, addresses, dns, onHostNetwork: false });
  }

  /**
   * Fine if nothing is there.
   * @throws {NetworkError}; the reason of the signal: the rest can be removed later
   */
  async disconnect(id: string, directory: string, kind: NetworkKind, signal: AbortSignal): Promise<void> {
    const namespace = this.namespaceOf(directory, kind);
    if (namespace === undefined) return;
    if (kind === 'cni') await (await loadNetwork(this.#options, signal))?.detach(id, namespace, signal);
    await removeNetworkNamespace(namespace);
  }

  async #load(signal: AbortSignal): Promise<Network> {
    const network = await loadNetwork(this.#options, signal);
    if (network !== undefined) return network;
    const places = this.#options.binDirectories.join(' or ');
    throw new SpecError({
      what: 'make',
      target: 'a network for the container',
      why: `there are no plug-ins for it (bridge, host-local and loopback in ${places})`,
      hint: 'the network "host" needs none',
    });
  }
}
