import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import {
  createNetworkNamespace,
  loadNetwork,
  type Network,
  type NetworkOptions,
  removeNetworkNamespace,
} from '../../../../../agent/runtime/containerd/network/cni.ts';

export const never = new AbortController().signal;

/** Directory of Debian's package containernetworking-plugins. */
const plugins = '/usr/lib/cni';

/**
 * A machine with plug-ins. Each plug-in runs in a network namespace of its own, so that interfaces
 * and rules do not reach the host. Calls are recorded in the file `calls`.
 */
export interface NetworkFixture extends AsyncDisposable {
  at(...names: string[]): string;
  /** The warnings of the network so far. */
  readonly warnings: readonly string[];
  /** Puts a file among the network configurations. */
  configure(name: string, content: object | string): Promise<void>;
  /** Puts a program among the plug-ins. */
  install(type: string, script: string): Promise<void>;
  readonly options: NetworkOptions;
  load(): Promise<Network | undefined>;
  /** As {@link load}; fails without a network. */
  network(): Promise<Network>;
  /** Makes a network namespace as for a container, and returns its path. */
  namespace(name: string): Promise<string>;
  /** Runs a program in the machine's network. */
  inside(program: string, ...parameters: readonly string[]): Promise<string>;
  /** Calls of plug-ins so far, as `ADD bridge`. */
  calls(): Promise<string[]>;
  /** Leftovers of containers on the machine: addresses, records and interfaces. */
  left(): Promise<string[]>;
}

export async function makeNetworkFixture(available: readonly string[]): Promise<NetworkFixture> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-cni-'));
  const at = (...names: string[]) => join(directory, ...names);
  const namespaces: string[] = [];
  const warnings: string[] = [];

  async function namespace(name: string): Promise<string> {
    const path = at('namespaces', name);
    await createNetworkNamespace(path, never);
    namespaces.push(path);
    return path;
  }

  const machine = await namespace('machine');
  const enter = ['nsenter', `--net=${machine}`];
  for (const name of ['bin', 'conf']) await mkdir(at(name));

  async function install(type: string, script: string): Promise<void> {
    const note = `echo "$CNI_COMMAND ${type}" >>${at('calls')}`;
    await writeFile(at('bin', type), `#!/bin/sh\n${note}\n${script}\n`, { mode: 0o755 });
  }

  async function inside(program: string, ...parameters: readonly string[]): Promise<string> {
    const [first = '', ...rest] = [...enter, program, ...parameters];
    return (await execa(first, rest)).stdout;
  }

  const options: NetworkOptions = {
    ...{ confDirectory: at('conf'), binDirectories: [at('nothing'), at('bin')], stateDirectory: at('state') },
    warn: (message) => warnings.push(message),
  };
  const load = async () => await loadNetwork(options, never);

  async function left(): Promise<string[]> {
    const files = await readdir(at('state'), { recursive: true, withFileTypes: true }).catch(() => []);
    const names = files.filter((file) => file.isFile() && !/^(?:lock|last_reserved)/.test(file.name));
    const links = (await inside('ip', '-brief', 'link')).split('\n').filter((link) => link.startsWith('veth'));
    return [...names.map(({ name }) => name), ...links];
  }

  for (const type of available) await install(type, `exec ${enter.join(' ')} ${plugins}/${type}`);
  return {
    ...{ at, options, warnings, install, load, namespace, inside, left },
    configure: async (name, content) =>
      await writeFile(at('conf', name), typeof content === 'string' ? content : JSON.stringify(content)),
    async network() {
      const network = await load();
      assert.ok(network);
      return network;
    },
    calls: async () => (await readFile(at('calls'), 'utf8').catch(() => '')).trim().split('\n'),
    async [Symbol.asyncDispose]() {
      for (const path of namespaces) await removeNetworkNamespace(path);
      await rm(directory, { recursive: true });
    },
  };
}

export const bridge = ['bridge', 'host-local', 'loopback'];

/** Script of a plug-in that changes nothing: it prints the result of the plug-in before. */
export const passOn = 'sed "s/.*prevResult.://; s/}$//"';

/**
 * A configuration without address translation: two plug-ins, of which the second gets the result of
 * the first.
 */
export function list(fixture: NetworkFixture) {
  const ipam = {
    type: 'host-local',
    dataDir: fixture.at('state', 'addresses'),
    ranges: [[{ subnet: '10.88.0.0/24' }]],
  };
  const dns = { nameservers: ['10.88.0.1'], domain: 'lab', search: ['lab'], options: ['ndots:2'] };
  return {
    ...{ cniVersion: '1.0.0', name: 'lab' },
    plugins: [
      { type: 'bridge', bridge: 'lab0', isGateway: true, ipam, dns },
      { type: 'tuning', capabilities: { mac: true }, sysctl: { 'net.ipv4.conf.eth0.proxy_arp': '1' } },
    ],
  };
}
