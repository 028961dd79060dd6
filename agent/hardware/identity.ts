import type { BaseboardAttributes, BiosAttributes, ChassisAttributes, ProductAttributes } from './attributes.ts';
import { type FirmwareDescription, firmwareDescription } from './devicetree.ts';
import type { MachineFiles } from './machine-files.ts';
import { unknown } from './unknown.ts';

const directory = '/sys/class/dmi/id';

export interface Identity {
  readonly chassis: ChassisAttributes;
  readonly bios: BiosAttributes;
  readonly baseboard: BaseboardAttributes;
  readonly product: ProductAttributes;
}

/**
 * What the firmware says of the machine: the SMBIOS tables as the kernel shows them, word for word;
 * where there are none, the device tree.
 */
export async function readIdentity(files: MachineFiles): Promise<Identity> {
  if (await files.isDirectory(directory)) return await fromSmbios(files);
  const description = await firmwareDescription(files);
  return description === undefined ? await fromSmbios(files) : fromDevicetree(description);
}

async function fromSmbios(files: MachineFiles): Promise<Identity> {
  const item = async (name: string) => (await files.text(`${directory}/${name}`)) ?? unknown;
  return {
    chassis: { serial: await item('chassis_serial'), vendor: await item('chassis_vendor') },
    bios: {
      vendor: await item('bios_vendor'),
      version: await item('bios_version'),
      releaseDate: await item('bios_date'),
    },
    baseboard: {
      vendor: await item('board_vendor'),
      product: await item('board_name'),
      version: await item('board_version'),
      serialNumber: await item('board_serial'),
    },
    product: {
      name: await item('product_name'),
      vendor: await item('sys_vendor'),
      serialNumber: await item('product_serial'),
    },
  };
}

function fromDevicetree({ model = unknown, serial = unknown, vendor = unknown, uboot }: FirmwareDescription): Identity {
  return {
    chassis: { serial, vendor },
    bios: { vendor: uboot === undefined ? unknown : 'U-Boot', version: uboot ?? unknown, releaseDate: unknown },
    baseboard: { vendor, product: model, version: unknown, serialNumber: serial },
    product: { name: model, vendor, serialNumber: serial },
  };
}
