import { deepEqual, equal, match } from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { hostArchitecture } from '../../debian/architecture.ts';
import { unpackPackages } from '../../debian/unpack.ts';
import { cpio } from '../../initramfs/cpio.ts';
import { addManagers, managerPrograms } from '../../initramfs/layers.ts';
import { findLibraries } from '../../initramfs/libraries.ts';
import { selectModules, stageModules } from '../../initramfs/modules.ts';
import { type DebianSystem, fetchSystem } from '../../initramfs/system.ts';
import { Tree } from '../../initramfs/tree.ts';
import { type Machine, startMachine } from '../sandbox/machine.ts';
import { selectDnsmasq } from '../sandbox/packages.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';

/*
 * The kernel of the build host need not know tagged networks or bonds, so this runs in a small
 * machine with the kernel, busybox, device manager, network manager and scripts of the boot image.
 * Its first card shares a cable with DHCP servers:
 *
 * - 10.0.0.0/24 without a tag,
 * - tag 7: 10.7.0.0/24,
 * - tag 8: 10.8.0.0, one address each (netmask 255.255.255.255),
 * - tag 9: IPv6 only, fd00:9::/64 with router advertisements and DHCPv6.
 *
 * Its second card has 10.1.0.0/24, whose server offers its routes as option 121 only, an MTU of
 * 1400 and two search domains.
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
  /** Mode and LACP rate of the bond. */
  readonly bond?: string;
  /**
   * The other ends of the cables are one bond with LACP, too, which is asked for an address. What
   * the driver has found out of it.
   */
  readonly aggregation?: RegExp;
  /** MAC address of the interface. */
  readonly mac?: string;
  /** MTU of the interface. */
  readonly mtu?: string;
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
    title: 'an empty vlan_id: no tagged network, and the card of hw_addr is preferred',
    commandLine: 'vlan_id= hw_addr=08:00:27:00:00:02',
    interface: /^eth1$/,
    asking: 'eth0 eth1',
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
    title: 'interface: only that card asks; option 121 in place of a router, option 26, option 119',
    commandLine: 'interface=eth1 hw_addr=08:00:27:00:00:01',
    asking: 'eth1',
    interface: /^eth1$/,
    addresses: /^eth1 10\.1\.0\.\d+\/24$/,
    route: /^default via 10\.1\.0\.1 dev eth1 \S.* 172\.20\.0\.0\/16 via 10\.1\.0\.2 dev eth1 /,
    resolver: 'search one.example two.example nameserver 10.1.0.1',
    mtu: '1400',
  },
  {
    title: 'a network of one address, whose router is outside of it',
    commandLine: 'vlan_id=8',
    interface: /^eth0\.8$/,
    addresses: /^eth0\.8 10\.8\.0\.\d+\/32$/,
    route: /^default via 10\.8\.0\.1 dev eth0\.8 /,
  },
  {
    title: 'only IPv6: router advertisements and DHCPv6',
    commandLine: 'vlan_id=9',
    interface: /^eth0\.9$/,
    addresses: /(?=.*eth0\.9 fd00:9::1[0-9a-f]{2}\/128)(?=.*eth0\.9 fd00:9::a00:27ff:fe00:1\/64)/,
    route: /^default via fe80::\S+ dev eth0\.9 /,
    resolver: 'search six.example nameserver fd00:9::1',
  },
  {
    title: 'an IPv6 address without DHCP',
    commandLine: 'ip=[fd00:9::50]::[fd00:9::1]:64:node9:eth1:none:[fd00:9::1]',
    interface: /^eth1$/,
    addresses: /^eth1 fd00:9::50\/64$/,
    route: /^default via fd00:9::1 dev eth1 /,
    resolver: 'nameserver fd00:9::1',
    name: 'node9',
    asking: '',
  },
  {
    title: 'VLAN 0, which is none, and a gateway outside of the network of the address',
    commandLine: 'ipam=08-00-27-00-00-02:0:10.1.0.50:255.255.255.255:10.1.0.1::10.1.0.1::',
    interface: /^eth1$/,
    addresses: /^eth1 10\.1\.0\.50\/32$/,
    route: /^default via 10\.1\.0\.1 dev eth1 /,
  },
  {
    title: 'a tagged network on a bond of two cards, one of which is preferred; one option is not known',
    commandLine:
      'BOOTIF=01-08-00-27-00-00-02 bond=bond1:eth0,eth1:mode=active-backup,primary=eth0,colour=red vlan_id=7',
    interface: /^bond1\.7$/,
    addresses: /^bond1\.7 10\.7\.0\.\d+\/24$/,
    route: /^default via 10\.7\.0\.1 dev bond1\.7 /,
    asking: 'bond1.7',
    bond: 'active-backup 1 slow 0',
    mac: '08:00:27:00:00:02',
    message:
      /^kernel command line: the option colour=red of bond= is not known: ignored; network up [\d.]+ on bond1.7;$/,
  },
  {
    title: 'an invalid VLAN ID is reported, and all cards ask',
    commandLine: 'vlan_id=4095 hw_addr=08:00:27:00:00:01',
    interface: /^eth[01]$/,
    message: /^kernel command line: a VLAN ID is a number from 1 to 4094, not 4095; using DHCP instead;/,
  },
  {
    title: 'an address that cannot be used is reported with all its errors, and all cards ask',
    commandLine: 'ipam=08-00-27-00-00-01:7:10.7.0.256:255.0.255.0:10.8.0:node7::: BOOTIF=01-08-00-27-00-00-01',
    interface: /^eth0$/,
    message:
      /^kernel command line: cannot use the address 10\.7\.0\.256: 10\.7\.0\.256 is not an address, 255\.0\.255\.0 is not a netmask, the gateway 10\.8\.0 is not an address, a name server is missing; using DHCP instead;/,
  },
  {
    title: 'an address without a name server is reported, and vlan_id is followed instead',
    commandLine: 'ipam=08-00-27-00-00-01::10.0.0.9:24:10.0.0.1::::: vlan_id=7',
    interface: /^eth0\.7$/,
    asking: 'eth0.7',
    message: /a name server is missing; using DHCP instead;/,
  },
  {
    title: 'a missing card is reported with those found, and all cards ask',
    commandLine: 'interface=enp1s0 BOOTIF=01-08-00-27-00-00-02',
    interface: /^eth1$/,
    message:
      /^kernel command line: no network card has the name or address enp1s0; found: eth0 08:00:27:00:00:01 eth1 08:00:27:00:00:02; using/,
  },
  {
    title: 'LACP: both cards are in one aggregation with the partner at the other ends of their cables',
    commandLine: 'bond=bond0:eth0,eth1:mode=802.3ad,lacp_rate=fast,xmit_hash_policy=layer3+4',
    interface: /^bond0$/,
    addresses: /^bond0 10\.3\.0\.\d+\/24$/,
    route: /^default via 10\.3\.0\.1 dev bond0 /,
    asking: 'bond0',
    bond: '802.3ad 4 fast 1',
    mac: '08:00:27:00:00:01',
    // Of the partner, for the bond and for each card; the cards join in any order.
    aggregation:
      /^(?=.* Interface eth0 )(?=.* Interface eth1 ).*Number of ports 2 .*Partner Mac Address (08:00:27:00:00:0[34]) Slave .*system mac address \1 Slave .*system mac address \1$/,
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
    const found = await resultOf(index);
    match(found['interface'] ?? '', expected.interface);
    equal(found['peer'], '1 packets received', 'the server answers at that address');
    match(
      found['message'] ?? '',
      expected.message ?? /^network up [\da-f.: ]+ on \S+;( eth\d has the address [\da-f.: ]+;)?$/,
    );
    if (expected.addresses !== undefined) match(found['addresses'] ?? '', expected.addresses);
    if (expected.aggregation !== undefined) match(found['aggregation'] ?? '', expected.aggregation);
    if (expected.route !== undefined) match(found['route'] ?? '', expected.route);
    for (const key of ['asking', 'resolver', 'name', 'time', 'bond', 'mac', 'mtu'] as const) {
      if (expected[key] !== undefined) equal(found[key], expected[key], key);
    }
  });
}

test('a cable that is moved to another network: the old address goes, the new one comes', {
  timeout: 3_600_000,
}, async () => {
  const wait = (line: RegExp) =>
    whileProgressing(machine, {}, (signal) => machine.console.waitForLine(line, { signal }));
  await wait(/^move: connected/);
  await machine.monitor.command('set_link', { name: 'net0', up: false });
  await wait(/^move: other network/);
  await machine.monitor.command('set_link', { name: 'net0', up: true });
  await wait(/^move: end/);
  const printed = machine.console.lines.flatMap(({ text }) => text.match(/^move: (\w+: .*)$/)?.[1] ?? []);
  const digits = (line: string) => line.replaceAll(/(10\.\d\.0)\.\d\d/g, '$1.x');
  deepEqual(printed.map(digits), [
    'message: eth0 has lost the address 10.0.0.x: no link',
    'message: eth0 has the address 10.2.0.x',
    'address: 10.2.0.x/24',
    'route: default via 10.2.0.1 dev eth0  src 10.2.0.x  metric 10 ',
    'resolver: search one.example two.example',
    'resolver: nameserver 10.2.0.1',
    'resolver: nameserver 10.1.0.1',
  ]);
});

/** What the machine has printed of a case. */
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
  const dnsmasq = join(directory, 'dnsmasq');
  await mkdir(dnsmasq);
  await unpackPackages((await selectDnsmasq()).files.values(), dnsmasq);
  const initramfs = join(directory, 'initramfs');
  await writeFile(initramfs, cpio(await trialTree(system, directory, dnsmasq), system.timeSeconds));
  return await startMachine({
    name: 'network',
    directory,
    boot: {
      kind: 'kernel',
      kernel: system.kernelImage,
      initramfs,
      commandLine: 'console=ttyS0 panic=-1 quiet',
    },
    memoryMiB: 384,
    cards: macs.map((mac, position) => ({ mac, network: { kind: 'cable', number: position % 2 } })),
  });
}

async function trialTree(
  { packages, kernelVersion, tools }: DebianSystem,
  directory: string,
  dnsmasq: string,
): Promise<Tree> {
  const tree = new Tree();
  for (const name of ['proc', 'sys', 'dev', 'tmp', 'run', 'etc', 'var/log', 'cases', 'partners']) tree.directory(name);
  for (const name of ['passwd', 'group'])
    await tree.copy(join(root, 'initramfs/files/system/etc', name), `etc/${name}`);
  tree.link('usr', '.');
  await addManagers(tree, { packages, architecture: hostArchitecture });
  await addPrograms(tree, packages, managerPrograms(hostArchitecture));
  await tree.copy(join(dnsmasq, 'usr/sbin/dnsmasq'), 'bin/dnsmasq');
  await addPrograms(tree, dnsmasq, ['usr/sbin/dnsmasq']);
  const busybox = join(packages, 'bin/busybox');
  await tree.copy(busybox, 'bin/busybox');
  const { stdout } = await execa(busybox, ['--list']);
  for (const applet of stdout.split('\n')) if (applet !== 'busybox') tree.link(`bin/${applet}`, 'busybox');
  await tree.copy(join(root, 'initramfs/files/system/lib/nibs'), 'lib/nibs');
  for (const name of ['init', 'serve', 'try', 'partner', 'move', 'take-back']) {
    tree.file(name, await readFile(join(import.meta.dirname, 'network', name)), 0o755);
  }
  for (const [index, { commandLine, aggregation }] of cases.entries()) {
    tree.file(`cases/${nameOf(index)}`, `${commandLine}\n`);
    if (aggregation !== undefined) tree.file(`partners/${nameOf(index)}`, '');
  }
  const from = join(packages, 'lib/modules', kernelVersion);
  const modules = await selectModules(from, [
    ...['net/8021q', 'net/packet', 'drivers/virtio', 'drivers/net/virtio_net', 'drivers/net/bonding'],
  ]);
  await tree.copy(
    await stageModules(from, modules, join(directory, 'modules'), kernelVersion, tools),
    `lib/modules/${kernelVersion}`,
  );
  return tree;
}

/** The libraries of programs in a directory of unpacked packages. */
async function addPrograms(tree: Tree, from: string, programs: readonly string[]): Promise<void> {
  const paths = programs.map((path) => join(from, path));
  if (!tree.has('lib64')) tree.link('lib64', 'lib/x86_64-linux-gnu');
  for (const path of await findLibraries(paths, from))
    tree.file(path.replace('lib64', 'lib/x86_64-linux-gnu'), await readFile(join(from, path)), 0o755);
}
