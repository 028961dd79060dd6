import { basename } from 'node:path';
import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';
import type { PciAttributes } from './attributes.ts';
import type { MachineFiles } from './machine-files.ts';
import { unknown } from './unknown.ts';

/** Where distributions keep the PCI ID database, in the order in which tink-agent looks. */
const databases = ['hwdata/pci.ids', 'misc/pci.ids', 'hwdata/pci.ids.gz', 'misc/pci.ids.gz'];

/**
 * vendor (8 digits), device (8), subsystem vendor and device, base class (2):
 * Documentation/ABI/testing/sysfs-bus-pci and file2alias.c of the kernel.
 */
const modalias =
  /^pci:v[0-9A-F]{4}([0-9A-F]{4})d[0-9A-F]{4}([0-9A-F]{4})sv[0-9A-F]{8}sd[0-9A-F]{8}bc([0-9A-F]{2})sc[0-9A-F]{2}i[0-9A-F]{2}/i;

/**
 * All PCI functions, and those of them that drive a screen, by their names in the machine's PCI ID
 * database. As with tink-agent there are none of both where the machine has no such database:
 * neither HookOS nor CaptainOS has one.
 */
export async function readPci(files: MachineFiles): Promise<{ pci: PciAttributes[]; gpu: PciAttributes[] }> {
  const namesOf = await loadNames(files);
  if (namesOf === undefined) return { pci: [], gpu: [] };
  const addresses = await files.names('/sys/bus/pci/devices');
  const functions = new Map(
    await Promise.all(
      addresses.map(async (address) => [address, await readFunction(files, address, namesOf)] as const),
    ),
  );
  const known = [...functions.values()].filter((one) => one !== undefined);
  // A function that does not describe itself makes tink-agent drop them all.
  if (known.length < functions.size) return { pci: [], gpu: [] };
  const screens = await Promise.all((await files.names('/sys/class/drm')).map((name) => addressOfScreen(files, name)));
  return { pci: known, gpu: screens.map((address) => functions.get(address ?? '')).filter((one) => one !== undefined) };
}

async function readFunction(files: MachineFiles, address: string, namesOf: Names): Promise<PciAttributes | undefined> {
  const directory = `/sys/bus/pci/devices/${address}`;
  const [alias = '', driver] = await Promise.all([
    files.text(`${directory}/modalias`),
    files.target(`${directory}/driver`),
  ]);
  const [, vendor, product, baseClass] = modalias.exec(alias.toLowerCase()) ?? [];
  if (vendor === undefined || product === undefined || baseClass === undefined) return undefined;
  return {
    vendor: namesOf(vendor) ?? unknown,
    product: namesOf(`${vendor}/${product}`) ?? unknown,
    class: namesOf(`C ${baseClass}`) ?? unknown,
    driver: driver && basename(driver),
  };
}

/** The PCI function behind card0, card1, …: the last one on its path. */
async function addressOfScreen(files: MachineFiles, name: string): Promise<string | undefined> {
  if (!name.startsWith('card') || name.includes('-')) return undefined;
  const path = (await files.target(`/sys/class/drm/${name}`)) ?? '';
  return path.split('/').findLast((part) => /^[0-9a-f]{4,5}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]$/.test(part));
}

/** By `VENDOR`, `VENDOR/DEVICE` or `C CLASS`, in lower case. */
type Names = (key: string) => string | undefined;

/** Reads the PCI ID database (format: https://pci-ids.ucw.cz/). `undefined` where there is none. */
async function loadNames(files: MachineFiles): Promise<Names | undefined> {
  for (const database of databases) {
    const bytes = await files.bytes(`/usr/share/${database}`);
    if (bytes === undefined) continue;
    const text = (database.endsWith('.gz') ? await promisify(gunzip)(bytes) : bytes).toString('utf8');
    return parseNames(text);
  }
  return undefined;
}

function parseNames(text: string): Names {
  const names = new Map<string, string>();
  let parent = '';
  for (const line of text.split('\n')) {
    const [, tab, kind = '', id, name] = /^(\t?)(C )?([0-9a-f]{2,4}) {2}(.+)$/.exec(line) ?? [];
    if (id === undefined || name === undefined) continue;
    if (tab === '') parent = `${kind}${id}`;
    names.set(tab === '' ? parent : `${parent}/${id}`, name.trim());
  }
  return (key) => names.get(key);
}
