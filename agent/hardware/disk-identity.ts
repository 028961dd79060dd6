/**
 * Model, serial number and World Wide Name of a disk as udev knows them: tink-agent has them from
 * udev's database. Where udev does not run, as in our boot image, they are made from what udev's
 * rules (60-persistent-storage.rules, ata_id, scsi_id, usb_id of systemd) make them from.
 */
import { basename, dirname } from 'node:path';
import type { MachineFiles } from './machine-files.ts';
import { parseIdentifyData, parseUnitIdentifiers, parseUnitSerial } from './vital-product-data.ts';

export interface DiskIdentity {
  readonly model?: string | undefined;
  readonly serial?: string | undefined;
  readonly wwn?: string | undefined;
}

/** @param name kernel name without `/dev/` */
export async function readDiskIdentity(files: MachineFiles, name: string): Promise<DiskIdentity> {
  // Paths to a namespace of a shared NVMe device have no number: neither udev nor programs see
  // them.
  const number = await files.text(`/sys/block/${name}/dev`);
  if (number === undefined) return {};
  const record = await files.text(`/run/udev/data/b${number}`);
  if (record !== undefined) return fromUdev(record);
  if (await files.isDirectory('/run/udev/data')) return {};
  const device = await files.real(`/sys/block/${name}`);
  return device === undefined ? {} : await readDevice(files, name, device);
}

function fromUdev(record: string): DiskIdentity {
  const properties = new Map(
    [...record.matchAll(/^E:([^=\n]+)=(.*)$/gm)].map(([, key = '', value = '']) => [key, value] as const),
  );
  const first = (...keys: string[]) => keys.map((key) => properties.get(key)).find((value) => value !== undefined);
  return {
    model: first('ID_MODEL'),
    serial: first('SCSI_IDENT_SERIAL', 'ID_SCSI_SERIAL', 'ID_SERIAL_SHORT', 'ID_SERIAL'),
    wwn: first('ID_WWN_WITH_EXTENSION', 'ID_WWN', 'DM_WWN'),
  };
}

async function readDevice(files: MachineFiles, name: string, device: string): Promise<DiskIdentity> {
  const attribute = (item: string) => attributeOf(files, device, item);
  if (name.startsWith('nvme')) {
    return { model: await attribute('model'), serial: await attribute('serial'), wwn: await attribute('wwid') };
  }
  if (name.startsWith('vd') || /^mmcblk\d$/.test(name)) return { serial: await attribute('serial') };
  if (name.startsWith('sd') || name.startsWith('sr')) return await readScsiDevice(files, `${device}/device`, device);
  return {};
}

async function readScsiDevice(files: MachineFiles, scsi: string, device: string): Promise<DiskIdentity> {
  const [vendor, model = '', identify, identifiers, unitSerial] = await Promise.all([
    files.text(`${scsi}/vendor`),
    files.text(`${scsi}/model`),
    files.bytes(`${scsi}/vpd_pg89`),
    files.bytes(`${scsi}/vpd_pg83`),
    files.bytes(`${scsi}/vpd_pg80`),
  ]);
  if (vendor === 'ATA' && identify !== undefined) {
    const ata = parseIdentifyData(identify);
    return { model: joined(ata.model), serial: joined(ata.serial), wwn: ata.wwn };
  }
  const usb = await enclosingUsbDevice(files, device);
  if (usb !== undefined) return { model: joined(model), serial: joined((await files.text(`${usb}/serial`)) ?? '') };
  const unit = identifiers && parseUnitIdentifiers(identifiers);
  const serial = unitSerial && parseUnitSerial(unitSerial);
  return { model: joined(model), serial: serial || (unit && joined(unit.serial)), wwn: unit?.wwn };
}

/**
 * The attribute of a device or of the nearest device that it is part of, as `$attr{}` of a rule.
 */
async function attributeOf(files: MachineFiles, device: string, item: string): Promise<string | undefined> {
  for (let path = device; path.startsWith('/sys/devices/'); path = dirname(path)) {
    const value = await files.text(`${path}/${item}`);
    if (value) return value.replace(/[^\w#+\-.:=@/ $%?,\u0080-\uffff]/g, '_');
  }
  return undefined;
}

/** The USB device, not one of its interfaces, that a disk is part of. */
async function enclosingUsbDevice(files: MachineFiles, device: string): Promise<string | undefined> {
  for (let path = device; path.startsWith('/sys/devices/'); path = dirname(path)) {
    const subsystem = (await files.target(`${path}/subsystem`)) ?? '';
    if (basename(subsystem) === 'usb' && !basename(path).includes(':')) return path;
  }
  return undefined;
}

/**
 * As one word: the spaces between words are `_`, as is what may not stand in the name of a file
 * below /dev/disk.
 */
function joined(text: string): string | undefined {
  const word = text
    .trim()
    .replace(/\s+/g, '_')
    .replace(/[^\w#+\-.:=@\u0080-\uffff]/g, '_');
  return word || undefined;
}
