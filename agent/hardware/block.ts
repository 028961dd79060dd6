import type { BlockAttributes } from './attributes.ts';
import { readDiskIdentity } from './disk-identity.ts';
import { humanSize } from './human-size.ts';
import type { MachineFiles } from './machine-files.ts';
import { unknown } from './unknown.ts';

/**
 * The kinds of disk that tink-agent knows, by the beginning of the kernel's name; all others (loop,
 * RAM, device mapper, RAID, floppy) it leaves out.
 */
const kinds: readonly (readonly [prefix: string, controllerType: string, driveType: string])[] = [
  ['sd', 'SCSI', 'HDD'],
  ['hd', 'IDE', 'HDD'],
  ['vd', 'virtio', 'HDD'],
  ['nvme', 'NVMe', 'SSD'],
  ['sr', 'SCSI', 'ODD'],
  ['xvd', 'SCSI', 'HDD'],
  ['mmc', 'MMC', 'SSD'],
];

/** The disks and optical drives in /sys/block. */
export async function readBlock(files: MachineFiles): Promise<BlockAttributes[]> {
  const disks = (await files.names('/sys/block')).map((name) => readDisk(files, name));
  return (await Promise.all(disks)).filter((disk) => disk !== undefined);
}

async function readDisk(files: MachineFiles, name: string): Promise<BlockAttributes | undefined> {
  const [, controllerType, driveType] = kinds.find(([prefix]) => name.startsWith(prefix)) ?? [];
  if (controllerType === undefined) return undefined;
  const directory = `/sys/block/${name}`;
  const [sectors = 0, physicalBlockSize = 0, rotational, vendor = unknown, identity] = await Promise.all([
    files.integer(`${directory}/size`),
    files.integer(`${directory}/queue/physical_block_size`),
    files.integer(`${directory}/queue/rotational`),
    files.text(`${directory}/device/vendor`),
    readDiskIdentity(files, name),
  ]);
  return {
    name,
    controllerType,
    driveType: driveType === 'HDD' && rotational !== 1 ? 'SSD' : driveType,
    // The kernel counts in sectors of 512 bytes, whatever those of the disk are
    // (Documentation/ABI/stable/sysfs-block).
    size: humanSize(sectors * 512),
    physicalBlockSize: humanSize(physicalBlockSize),
    vendor,
    model: identity.model ?? unknown,
    wwn: identity.wwn ?? unknown,
    serialNumber: identity.serial ?? unknown,
  };
}
