import type { NetworkAttributes } from './attributes.ts';
import type { MachineFiles } from './machine-files.ts';

const directory = '/sys/class/net';

/**
 * All interfaces but loopback, cards as well as what is made of them (bonds, VLANs, bridges). Only
 * an address that is the device's own for good (addr_assign_type 0) is reported: that of a card in
 * a bond, or of a bridge, is not. The speed is a number of Mb/s as the kernel has it, `-1` where it
 * knows none, and empty where the driver has none to report.
 */
export async function readNetwork(files: MachineFiles): Promise<NetworkAttributes[]> {
  const names = (await files.names(directory)).filter((name) => name !== 'lo' && name !== 'bonding_masters');
  return await Promise.all(names.map((name) => readInterface(files, name)));
}

async function readInterface(files: MachineFiles, name: string): Promise<NetworkAttributes> {
  const [assigned, mac = '', speed = ''] = await Promise.all([
    files.text(`${directory}/${name}/addr_assign_type`),
    files.text(`${directory}/${name}/address`),
    files.text(`${directory}/${name}/speed`),
  ]);
  // tink-agent has them from the program ethtool, which neither its image nor HookOS nor CaptainOS
  // holds.
  return { name, mac: assigned === '0' ? mac : '', speed, enabledCapabilities: [] };
}
