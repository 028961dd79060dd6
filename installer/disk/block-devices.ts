import { readdir, readFile, readlink, realpath, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { printable } from '../../text/printable.ts';

/** Where the kernel shows its devices and processes. Tests give directories of their own. */
export interface KernelRoots {
  readonly sysfs: string;
  readonly proc: string;
}

export const kernelRoots: KernelRoots = { sysfs: '/sys', proc: '/proc' };

/** A block device as sysfs shows it, also a partition. */
export interface BlockDevice {
  /** The kernel's name: sda1, dm-0. */
  readonly name: string;
  /** Device node: /dev/sda1, /dev/mapper/vg-root. */
  readonly path: string;
  /** `major:minor`. */
  readonly number: string;
  /** Real path of its directory in sysfs: through the bus that it is on. */
  readonly directory: string;
  /** As lsblk names it: disk, part, loop, lvm, crypt, mpath, raid1, rom, … */
  readonly type: string;
  /** The kernel's name of the device whose partition this is. */
  readonly wholeDevice: string | undefined;
  /** The kernel's names of the devices on top of this one. */
  readonly holders: readonly string[];
  /** The kernel's names of the devices that this one is made of. */
  readonly slaves: readonly string[];
  /** Of a loop device: the file or device that is attached, as the kernel shows its path. */
  readonly backingFile: string | undefined;
  /** bcache uses it, as backing device or as cache. */
  readonly isInBcache: boolean;
}

/** All block devices by the kernel's name. */
export type BlockDevices = ReadonlyMap<string, BlockDevice>;

/**
 * Reads the block devices from sysfs: needs no udev and no tool, and has the devices of the host
 * also in a container. A device that goes away meanwhile is left out.
 */
export async function readBlockDevices({ sysfs }: KernelRoots = kernelRoots): Promise<BlockDevices> {
  const names = await readdir(join(sysfs, 'class/block')).catch(() => []);
  const devices = await Promise.all(names.map((name) => readBlockDevice(join(sysfs, 'class/block', name), name)));
  return new Map(devices.flatMap((device) => (device === undefined ? [] : [[device.name, device]])));
}

async function readBlockDevice(link: string, name: string): Promise<BlockDevice | undefined> {
  const directory = await realpath(link).catch(() => link);
  const number = await readText(join(directory, 'dev'));
  // A path of an NVMe namespace with several is hidden: it has no node.
  if (number === undefined || (await readText(join(directory, 'hidden'))) === '1') return undefined;
  const list = (folder: string) => readdir(join(directory, folder)).catch(() => []);
  const mapName = await readText(join(directory, 'dm/name'));
  const mapUuid = await readText(join(directory, 'dm/uuid'));
  const slaves = await list('slaves');
  const isPartition = (await readText(join(directory, 'partition'))) !== undefined;
  // kpartx makes partitions of device-mapper devices that are device-mapper devices too.
  const isMappedPartition = mapUuid !== undefined && /^part\d+-/.test(mapUuid);
  const backingFile = await readText(join(directory, 'loop/backing_file'));
  return {
    name,
    path: mapName === undefined ? `/dev/${name.replaceAll('!', '/')}` : `/dev/mapper/${mapName}`,
    number,
    directory,
    type: isPartition || isMappedPartition ? 'part' : await typeOf(directory, name, mapUuid),
    wholeDevice: isPartition ? basename(dirname(directory)) : isMappedPartition ? slaves[0] : undefined,
    holders: await list('holders'),
    slaves,
    backingFile,
    isInBcache: await exists(join(directory, 'bcache')),
  };
}

/** Source: lsblk of util-linux, `get_type()`. */
async function typeOf(directory: string, name: string, mapUuid: string | undefined): Promise<string> {
  if (mapUuid !== undefined) return /^[^-]+(?=-)/.exec(mapUuid)?.[0].toLowerCase() ?? 'dm';
  if (/^loop\d+$/.test(name)) return 'loop';
  const level = await readText(join(directory, 'md/level'));
  if (level !== undefined || /^md[\d_]/.test(name)) return (level ?? 'md').toLowerCase();
  // Of SCSI: 5 is a CD-ROM, 7 an optical memory. Source: SPC-4, peripheral device type.
  const scsi = await readText(join(directory, 'device/type'));
  if (scsi === '5' || scsi === '7' || /^sr\d+$/.test(name)) return 'rom';
  return 'disk';
}

/** What sysfs says about a whole device, whatever lsblk of this system can show. */
export interface DeviceProperties {
  readonly sizeBytes: number;
  readonly sectorSizeBytes: number;
  readonly readOnly: boolean;
  readonly removable: boolean;
  /** Undefined if the kernel does not say. */
  readonly rotational: boolean | undefined;
  readonly transport: string | undefined;
  readonly vendor: string | undefined;
  readonly model: string | undefined;
  readonly serial: string | undefined;
  /** Where it is a number, with a prefix such as `naa.`. */
  readonly wwn: string | undefined;
  /** On a port to which devices are attached from outside, such as Thunderbolt. */
  readonly isExternal: boolean;
}

export async function readProperties(device: BlockDevice): Promise<DeviceProperties> {
  const read = (file: string) => readText(join(device.directory, file));
  const number = async (file: string) => Number((await read(file)) ?? 0);
  const rotational = await read('queue/rotational');
  return {
    // The kernel counts in units of 512 bytes for every sector size.
    sizeBytes: (await number('size')) * 512,
    sectorSizeBytes: (await number('queue/logical_block_size')) || 512,
    readOnly: (await read('ro')) === '1',
    removable: (await read('removable')) === '1',
    rotational: rotational === undefined ? undefined : rotational === '1',
    transport: await transportOf(device),
    vendor: await read('device/vendor').then((text) => (text?.startsWith('0x') ? undefined : text)),
    model: (await read('device/model')) ?? (await read('device/name')),
    serial: (await read('serial')) ?? (await read('device/serial')) ?? (await readVitalSerial(device)),
    wwn: (await read('wwid')) ?? (await read('device/wwid')),
    isExternal: await isExternal(device.directory),
  };
}

/** Where a partition is on its disk; undefined if it is a device-mapper device. */
export async function readExtent({
  directory,
}: BlockDevice): Promise<{ readonly offsetBytes: number | undefined; readonly sizeBytes: number }> {
  const start = await readText(join(directory, 'start'));
  const size = await readText(join(directory, 'size'));
  return { offsetBytes: start === undefined ? undefined : Number(start) * 512, sizeBytes: Number(size ?? 0) * 512 };
}

/**
 * The names of lsblk's TRAN where it has one: sata, ata, sas, fc, iscsi, usb, nvme, virtio, mmc;
 * besides `sd` (a card), `nvme-tcp`, `nvme-rdma` and `nvme-fc` (over a network), and `software` (no
 * hardware of its own). Source: the paths of sysfs, as in lsblk's `get_transport()`.
 */
async function transportOf({ name, directory }: BlockDevice): Promise<string | undefined> {
  if (directory.includes('/usb') && /\/usb\d+\//.test(directory)) return 'usb';
  if (name.startsWith('nvme')) return await nvmeTransport(directory);
  if (name.startsWith('mmcblk'))
    return (await readText(join(directory, 'device/type')))?.startsWith('SD') ? 'sd' : 'mmc';
  if (directory.includes('/devices/virtual/block/') || softwareNames.test(name)) return 'software';
  if (/\/session\d+\//.test(directory)) return 'iscsi';
  if (/\/rport-/.test(directory)) return 'fc';
  if (/\/end_device-/.test(directory)) return 'sas';
  if (/\/fw\d+/.test(directory)) return 'sbp';
  if (/\/ata\d+\//.test(directory)) return 'sata';
  if (/\/virtio\d+\//.test(directory)) return 'virtio';
  return undefined;
}

/** Devices without hardware of their own that have another place in sysfs in some kernels. */
const softwareNames = /^(rbd|nbd|drbd|zd|pmem|bcache|nullb|ublkb|mtdblock|ubiblock|z?ram)\d/;

/** A namespace with several paths belongs to the subsystem, which has the controllers as links. */
async function nvmeTransport(directory: string): Promise<string> {
  const device = join(directory, 'device');
  const controllers = (await readdir(device).catch(() => [])).filter((name) => /^nvme\d+$/.test(name));
  for (const place of ['', ...controllers]) {
    const transport = await readText(join(device, place, 'transport'));
    if (transport !== undefined) return transport === 'pcie' ? 'nvme' : `nvme-${transport}`;
  }
  return 'nvme';
}

/** Page 80h of the vital product data. Source: SPC-4, section 7.8.15; 4 bytes of header. */
async function readVitalSerial({ directory }: BlockDevice): Promise<string | undefined> {
  const page = await readFile(join(directory, 'device/vpd_pg80')).catch(() => Buffer.alloc(0));
  return printable(page.subarray(4).toString('latin1').replaceAll('\0', '')).trim() || undefined;
}

/** Source: ABI/testing/sysfs-bus-pci and sysfs-bus-usb, `removable`. */
async function isExternal(directory: string): Promise<boolean> {
  // The file of the block device itself is a digit.
  for (let place = dirname(directory); place.includes('/devices/'); place = dirname(place)) {
    if ((await readText(join(place, 'removable'))) === 'removable') return true;
  }
  return false;
}

/** The `major:minor` of a device node; undefined if it is none. */
export async function deviceNumber(path: string): Promise<string | undefined> {
  const found = await stat(path).catch(() => undefined);
  return found?.isBlockDevice() === true ? formatNumber(found.rdev) : undefined;
}

/** Linux' encoding of a device number in 64 bits: makedev(3). */
export function formatNumber(device: number): string {
  const bits = BigInt(device);
  const major = ((bits >> 8n) & 0xfffn) | ((bits >> 32n) & ~0xfffn & 0xffffffffn);
  const minor = (bits & 0xffn) | ((bits >> 12n) & ~0xffn & 0xffffffffn);
  return `${major}:${minor}`;
}

/**
 * The links below /dev/disk that lead to each device node, such as by-path and by-id. Only udev
 * makes them.
 */
export async function readLinks(directory = '/dev/disk'): Promise<ReadonlyMap<string, readonly string[]>> {
  const links = new Map<string, string[]>();
  for (const kind of await readdir(directory).catch(() => [])) {
    for (const name of await readdir(join(directory, kind)).catch(() => [])) {
      const link = join(directory, kind, name);
      const target = await readlink(link)
        .then(() => realpath(link))
        .catch(() => undefined);
      if (target !== undefined) links.set(target, [...(links.get(target) ?? []), link]);
    }
  }
  return links;
}

async function readText(path: string): Promise<string | undefined> {
  const text = await readFile(path, 'utf8').catch(() => '');
  return text.trim() === '' ? undefined : printable(text.trim());
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
