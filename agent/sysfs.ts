/** Devices as the kernel shows them under /sys: what no tool of the machine has to be there for. */
import { readdir, readFile, readlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { AgentAttributes } from './transport/attributes.ts';

type BlockAttributes = NonNullable<AgentAttributes['block']>[number];
type PciAttributes = NonNullable<AgentAttributes['pci']>[number];

/** Disks and drives, without what is made of them or in memory: partitions, loop, RAM, device mapper, RAID. */
export async function readBlockDevices(sysfs: string): Promise<BlockAttributes[]> {
  const names = await list(join(sysfs, 'class/block'));
  const devices = await Promise.all(names.map((name) => readBlockDevice(join(sysfs, 'class/block', name), name)));
  return devices.filter((device) => device !== undefined);
}

async function readBlockDevice(directory: string, name: string): Promise<BlockAttributes | undefined> {
  const controllerType = controllerTypes.find(([pattern]) => pattern.test(name))?.[1];
  // A partition has no queue of its own.
  const [rotational, physicalBlockSize, sectors] = await Promise.all([
    read(directory, 'queue/rotational'),
    read(directory, 'queue/physical_block_size'),
    read(directory, 'size'),
  ]);
  if (controllerType === undefined || rotational === undefined) return undefined;
  const [vendor, model, wwid, wwidOfDisk, serial, serialOfDevice] = await Promise.all([
    read(directory, 'device/vendor'),
    read(directory, 'device/model'),
    read(directory, 'wwid'),
    read(directory, 'device/wwid'),
    read(directory, 'serial'),
    read(directory, 'device/serial'),
  ]);
  return {
    name,
    controllerType,
    driveType: name.startsWith('sr') ? 'ODD' : name.startsWith('fd') ? 'FDD' : rotational === '0' ? 'SSD' : 'HDD',
    // The kernel counts in sectors of 512 bytes, whatever those of the disk are (Documentation/ABI/stable/sysfs-block).
    size: humanSize(Number(sectors) * 512),
    physicalBlockSize: humanSize(Number(physicalBlockSize)),
    vendor,
    model,
    wwn: wwid ?? wwidOfDisk,
    serialNumber: serial ?? serialOfDevice,
  };
}

/** By the name of the device, as the Go agent tells them. */
const controllerTypes: readonly (readonly [RegExp, string])[] = [
  [/^nvme\d+n\d+$/, 'NVMe'],
  [/^(?:sd|sr)/, 'SCSI'],
  [/^(?:vd|xvd)/, 'virtio'],
  [/^mmcblk\d+$/, 'MMC'],
  [/^hd/, 'IDE'],
  [/^fd\d/, 'Unknown'],
];

/** What the Go agent writes for an amount of bytes: `512B`, `4KB`, `16GB`; units of 1024, rounded up. `undefined` for none. */
export function humanSize(bytes: number): string | undefined {
  if (!(bytes > 0)) return undefined;
  const units = ['B', 'KB', 'MB', 'GB', 'TB', 'PB', 'EB'];
  const unit = Math.min(Math.floor(Math.log2(bytes) / 10), units.length - 1);
  return `${Math.ceil(bytes / 1024 ** unit)}${units[unit]}`;
}

/** Where distributions keep the PCI ID database. */
const pciIdFiles = ['/usr/share/misc/pci.ids', '/usr/share/hwdata/pci.ids'];

/** All PCI functions; `isGpu` tells those that are display controllers (class 03). */
export async function readPciDevices(
  sysfs: string,
  idFiles: readonly string[] = pciIdFiles,
): Promise<(PciAttributes & { readonly isGpu: boolean })[]> {
  const directory = join(sysfs, 'bus/pci/devices');
  const addresses = await list(directory);
  if (addresses.length === 0) return [];
  const nameOf = await loadPciNames(idFiles);
  return await Promise.all(
    addresses.map(async (address) => {
      const device = join(directory, address);
      const [vendor = '', product = '', classCode = ''] = await Promise.all([
        read(device, 'vendor'),
        read(device, 'device'),
        read(device, 'class'),
      ]);
      return {
        ...nameOf(vendor, product, classCode),
        driver: await readlink(join(device, 'driver')).then(basename, () => undefined),
        isGpu: classCode.startsWith('0x03'),
      };
    }),
  );
}

type PciNames = (vendor: string, product: string, classCode: string) => PciAttributes;

/** Reads the PCI ID database (format: https://pci-ids.ucw.cz/). What it does not name keeps its number. */
async function loadPciNames(idFiles: readonly string[]): Promise<PciNames> {
  const names = new Map<string, string>();
  const texts = await Promise.all(idFiles.map((file) => readFile(file, 'utf8').catch(() => '')));
  let parent = '';
  for (const line of (texts.find((text) => text !== '') ?? '').split('\n')) {
    const [, tab, kind = '', id, name] = /^(\t?)(C )?([0-9a-f]{2,4}) {2}(.+)$/.exec(line) ?? [];
    if (id === undefined || name === undefined) continue;
    if (tab === '') parent = `${kind}${id}`;
    names.set(tab === '' ? parent : `${parent}/${id}`, name);
  }
  const bare = (number: string) => number.replace(/^0x/, '');
  return (vendor, product, classCode) => ({
    vendor: names.get(bare(vendor)) ?? (vendor || undefined),
    product: names.get(`${bare(vendor)}/${bare(product)}`) ?? (product || undefined),
    class: names.get(`C ${bare(classCode).slice(0, 2)}`) ?? (classCode || undefined),
  });
}

async function list(directory: string): Promise<string[]> {
  return (await readdir(directory).catch(() => [])).sort();
}

/** `undefined`: the kernel does not tell, or tells nothing. */
async function read(directory: string, file: string): Promise<string | undefined> {
  const text = await readFile(join(directory, file), 'utf8').catch(() => '');
  return text.trim() || undefined;
}
