import { equal, match } from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { cpio } from '../../initramfs/cpio.ts';
import { selectModules, stageModules } from '../../initramfs/modules.ts';
import { type DebianSystem, fetchSystem } from '../../initramfs/system.ts';
import { Tree } from '../../initramfs/tree.ts';
import { type Machine, startMachine } from '../sandbox/machine.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';

/*
 * The build host's kernel need not know tagged networks, so this runs in a small machine with the
 * boot image's kernel, busybox and scripts. Its first card shares a cable with a DHCP server that
 * offers 10.0.0.0/24, and 10.7.0.0/24 on the tagged network 7; its second card with one that offers
 * 10.1.0.0/24.
 */

const root = resolve(import.meta.dirname, '../..');
const macs = ['08:00:27:00:00:01', '08:00:27:00:00:02', '08:00:27:00:00:03', '08:00:27:00:00:04'];

interface Case {
  readonly title: string;
  readonly commandLine: string;
  readonly interface: RegExp;
  readonly addresses?: RegExp;
  readonly route?: RegExp;
  /** The interfaces that ask by DHCP. */
  readonly asking?: string;
  readonly resolver?: string;
  readonly name?: string;
  readonly time?: string;
  /** What the console shows. Default: only that the network is up. */
  readonly message?: RegExp;
}

const cases: readonly Case[] = [
  {
    title: 'vlan_id and hw_addr: only the tagged network of that card is asked',
    commandLine: 'vlan_id=7 hw_addr=08:00:27:00:00:01',
    interface: /^eth0\.7$/,
    addresses: /^eth0\.7 10\.7\.0\.\d+\/24$/,
    route: /^default via 10\.7\.0\.1 dev eth0\.7/,
    asking: 'eth0.7',
    resolver: 'nameserver 10.7.0.1',
    time: '10.7.0.1',
  },
  {
    title: 'vlan_id alone: the tagged network of the first card, as with HookOS',
    commandLine: 'vlan_id=7',
    interface: /^eth0\.7$/,
    asking: 'eth0.7',
  },
  {
    title: 'an empty vlan_id: no tagged network, and the card of hw_addr is preferred',
    commandLine: 'vlan_id= hw_addr=08:00:27:00:00:02',
    interface: /^eth1$/,
    asking: 'eth0 eth1',
  },
  {
    title: 'interface: only that card asks',
    commandLine: 'interface=eth1 hw_addr=08:00:27:00:00:01',
    interface: /^eth1$/,
    addresses: /^eth1 10\.1\.0\.\d+\/24$/,
    asking: 'eth1',
  },
  {
    title: 'ipam with all its fields: a tagged network, without DHCP',
    commandLine:
      'ipam=08-00-27-00-00-01:7:10.7.0.50:255.255.255.0:10.7.0.1:node7:10.7.0.1,10.7.0.2:example.com,example.net:10.7.0.1,10.7.0.3 vlan_id=7 hw_addr=08:00:27:00:00:01',
    interface: /^eth0\.7$/,
    addresses: /^eth0\.7 10\.7\.0\.50\/24$/,
    route: /^default via 10\.7\.0\.1 dev eth0\.7/,
    asking: '',
    resolver: 'search example.com example.net nameserver 10.7.0.1 nameserver 10.7.0.2',
    name: 'node7',
    time: '10.7.0.1 10.7.0.3',
  },
  {
    title: 'ipam with only the required fields, and BOOTIF of the other card',
    commandLine: 'BOOTIF=01-08-00-27-00-00-01 ipam=08-00-27-00-00-02::10.1.0.50:255.255.255.0:::10.1.0.1::',
    interface: /^eth1$/,
    addresses: /^eth1 10\.1\.0\.50\/24$/,
    route: /^$/,
    asking: '',
    resolver: 'nameserver 10.1.0.1',
    name: 'none',
    time: '',
  },
  {
    title: "ip: the kernel's own form of an address without DHCP",
    commandLine: 'ip=10.1.0.60::10.1.0.1:255.255.255.0:node8:eth1::10.1.0.1:10.1.0.2',
    interface: /^eth1$/,
    addresses: /^eth1 10\.1\.0\.60\/24$/,
    route: /^default via 10\.1\.0\.1 dev eth1/,
    asking: '',
    resolver: 'nameserver 10.1.0.1 nameserver 10.1.0.2',
    name: 'node8',
  },
  {
    title: 'an invalid VLAN ID is reported, and all cards ask',
    commandLine: 'vlan_id=4095 hw_addr=08:00:27:00:00:01',
    interface: /^eth[01]$/,
    message: /^kernel command line: a VLAN ID is a number from 1 to 4094, not 4095; using DHCP instead;/,
  },
  {
    title: 'an address that cannot be used is reported with all its mistakes, and all cards ask',
    commandLine: 'ipam=08-00-27-00-00-01:7:10.7.0.256:255.0.255.0:10.8.0.1:node7::: BOOTIF=01-08-00-27-00-00-01',
    interface: /^eth0$/,
    message:
      /^kernel command line: cannot use the address 10\.7\.0\.256: 10\.7\.0\.256 is not an address, 255\.0\.255\.0 is not a netmask, the gateway 10\.8\.0\.1 is not in its network, a name server is missing; using DHCP instead;/,
  },
  {
    title: 'a gateway outside the network is reported, and vlan_id is used instead',
    commandLine: 'ipam=08-00-27-00-00-01::10.0.0.9:24:10.7.0.1::10.0.0.1:: vlan_id=7',
    interface: /^eth0\.7$/,
    asking: 'eth0.7',
    message: /the gateway 10\.7\.0\.1 is not in its network; using DHCP instead;/,
  },
  {
    title: 'a missing card is reported with those found, and all cards ask',
    commandLine: 'interface=enp1s0 BOOTIF=01-08-00-27-00-00-02',
    interface: /^eth1$/,
    message:
      /^kernel command line: no network card has the name or address enp1s0; found: eth0 08:00:27:00:00:01 eth1 08:00:27:00:00:02; using/,
  },
];

let scratch: string;
let machine: Machine;

before(async () => {
  scratch = await mkdtemp(join(root, 'build/cache/network-')); // beside the packages: modules are hard links to theirs
  machine = await startTrial(scratch);
});

after(async () => {
  await machine[Symbol.asyncDispose]();
  await rm(scratch, { recursive: true });
});

for (const [index, expected] of cases.entries()) {
  // The wait ends by the machine's own time, which this does not limit on a busy host.
  test(`${expected.title}: ${expected.commandLine}`, { timeout: 3_600_000 }, async () => {
    const result = await resultOf(index);
    match(result['interface'] ?? '', expected.interface);
    equal(result['peer'], '1 packets received', 'the server answers at that address');
    match(result['said'] ?? '', expected.message ?? /^network up [\d.]+ on \S+;$/);
    if (expected.addresses !== undefined) match(result['addresses'] ?? '', expected.addresses);
    if (expected.route !== undefined) match(result['route'] ?? '', expected.route);
    for (const key of ['asking', 'resolver', 'name', 'time'] as const) {
      if (expected[key] !== undefined) equal(result[key], expected[key], key);
    }
  });
}

/** What the machine printed about a case. */
async function resultOf(index: number): Promise<Record<string, string>> {
  const end = new RegExp(`^case ${nameOf(index)}: end`);
  await whileProgressing(machine, {}, (signal) => machine.console.waitForLine(end, { signal }));
  const lines = machine.console.lines.map(({ text }) => text.match(/^case (\S+): (\S+): ?(.*)$/));
  return Object.fromEntries(
    lines.flatMap((line) => (line?.[1] === nameOf(index) ? [[line[2] ?? '', line[3] ?? '']] : [])),
  );
}

/** Sorts as the number does. */
function nameOf(index: number): string {
  return String(index).padStart(2, '0');
}

async function startTrial(directory: string): Promise<Machine> {
  const system = await fetchSystem(join(root, 'build/cache'));
  const initramfs = join(directory, 'initramfs');
  await writeFile(initramfs, cpio(await trialTree(system, directory), system.timeSeconds));
  return await startMachine({
    name: 'network',
    directory,
    boot: {
      kind: 'kernel',
      kernel: system.kernelImage,
      initramfs,
      commandLine: 'console=ttyS0 panic=-1 quiet',
    },
    memoryMiB: 256,
    cards: macs.map((mac, position) => ({ mac, network: { kind: 'cable', number: position % 2 } })),
  });
}

async function trialTree({ packages, kernelVersion, tools }: DebianSystem, directory: string): Promise<Tree> {
  const tree = new Tree();
  for (const name of ['proc', 'sys', 'dev', 'tmp', 'run', 'etc', 'var/log', 'cases']) tree.directory(name);
  const busybox = join(packages, 'bin/busybox');
  await tree.copy(busybox, 'bin/busybox');
  const { stdout } = await execa(busybox, ['--list']);
  for (const applet of stdout.split('\n')) if (applet !== 'busybox') tree.link(`bin/${applet}`, 'busybox');
  await tree.copy(join(root, 'initramfs/files/system/lib/nibs'), 'lib/nibs');
  for (const name of ['init', 'serve', 'try']) {
    tree.file(name, await readFile(join(import.meta.dirname, 'network', name)), 0o755);
  }
  for (const [index, { commandLine }] of cases.entries()) tree.file(`cases/${nameOf(index)}`, `${commandLine}\n`);
  const from = join(packages, 'lib/modules', kernelVersion);
  const modules = await selectModules(from, ['net/8021q', 'net/packet', 'drivers/virtio', 'drivers/net/virtio_net']);
  await tree.copy(
    await stageModules(from, modules, join(directory, 'modules'), kernelVersion, tools),
    `lib/modules/${kernelVersion}`,
  );
  return tree;
}
