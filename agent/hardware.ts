import { humanSize, readBlockDevices, readPciDevices } from './sysfs.ts';
import type { AgentAttributes } from './transport/attributes.ts';

type Attributes<Name extends keyof AgentAttributes> = NonNullable<AgentAttributes[Name]>;

/** A source that has not answered by then is left out: a tool may hang on a broken device. */
const sourceTimeoutSeconds = 20;

/**
 * Takes the inventory of the machine. Never fails: what cannot be found out, because a tool or the file system of the kernel is missing, is absent.
 * Takes some tenths of a second and starts a few short-lived programs (dmidecode, lscpu, … where they are installed).
 *
 * Block and PCI devices are read from /sys: systeminformation needs lsblk and lspci for them, and tells neither physical block sizes nor WWNs.
 */
export async function takeInventory(sysfs = '/sys'): Promise<AgentAttributes> {
  // Loaded here, because it is large and an agent of a server that wants no inventory does without.
  const { default: si } = await import('systeminformation');
  const [cpu, memory, block, network, pci, chassis, bios, baseboard, product] = await Promise.all([
    attempt(async () => toCpu(await si.cpu())),
    attempt(async () => toMemory(await si.mem(), await si.memLayout())),
    attempt(() => readBlockDevices(sysfs)),
    attempt(async () => toNetwork([await si.networkInterfaces()].flat())),
    attempt(() => readPciDevices(sysfs)),
    attempt(() => si.chassis()),
    attempt(() => si.bios()),
    attempt(() => si.baseboard()),
    attempt(() => si.system()),
  ]);
  const devices = pci?.map(({ isGpu, ...device }) => ({ isGpu, device })) ?? [];
  return {
    ...(cpu && { cpu }),
    ...(memory && { memory }),
    block: block ?? [],
    network: network ?? [],
    pci: devices.map(({ device }) => device),
    gpu: devices.filter(({ isGpu }) => isGpu).map(({ device }) => device),
    ...known('chassis', { serial: told(chassis?.serial), vendor: told(chassis?.manufacturer) }),
    ...known('bios', {
      vendor: told(bios?.vendor),
      version: told(bios?.version),
      releaseDate: told(bios?.releaseDate),
    }),
    ...known('baseboard', {
      vendor: told(baseboard?.manufacturer),
      product: told(baseboard?.model),
      version: told(baseboard?.version),
      serialNumber: told(baseboard?.serial),
    }),
    ...known('product', {
      name: told(product?.model),
      vendor: told(product?.manufacturer),
      serialNumber: told(product?.serial),
    }),
  };
}

/** The inventory, taken at the first call and kept: what a machine is made of does not change while the agent runs. */
export function createInventory(take: () => Promise<AgentAttributes> = takeInventory): () => Promise<AgentAttributes> {
  let taken: Promise<AgentAttributes> | undefined;
  return () => {
    taken ??= take();
    return taken;
  };
}

async function attempt<T>(source: () => Promise<T>): Promise<T | undefined> {
  const { promise: late, resolve } = Promise.withResolvers<undefined>();
  const timer = setTimeout(resolve, sourceTimeoutSeconds * 1000, undefined);
  try {
    return await Promise.race([source(), late]);
  } catch {
    // Part of the machine stays unknown, which the attributes say by its absence.
    return undefined;
  } finally {
    clearTimeout(timer);
  }
}

interface CpuData {
  readonly manufacturer: string;
  readonly brand: string;
  readonly vendor: string;
  readonly cores: number;
  readonly physicalCores: number;
  readonly processors: number;
  readonly flags: string;
}

/** The cores of a machine with several sockets are shared out evenly: boards take pairs of the same processor. */
function toCpu({ vendor, manufacturer, brand, cores, physicalCores, processors, flags }: CpuData): Attributes<'cpu'> {
  const sockets = Math.max(1, processors);
  const perSocket = (count: number) => positive(Math.round(count / sockets));
  return {
    totalCores: positive(physicalCores),
    totalThreads: positive(cores),
    processors: Array.from({ length: sockets }, (_, id) => ({
      id,
      cores: perSocket(physicalCores),
      threads: perSocket(cores),
      vendor: told(vendor) ?? told(manufacturer),
      model: told([manufacturer, brand].filter((word) => word !== '').join(' ')),
      capabilities: flags.split(' ').filter((capability) => capability !== ''),
    })),
  };
}

/** Modules tell what is built in; where they are not told (no DMI, no dmidecode), the kernel's amount is all that is known. */
function toMemory(
  { total }: { readonly total: number },
  modules: readonly { readonly size: number }[],
): Attributes<'memory'> {
  const builtInBytes = modules.reduce((sum, { size }) => sum + size, 0);
  return { total: humanSize(Math.max(builtInBytes, total)), usable: humanSize(total) };
}

interface NetworkData {
  readonly iface: string;
  readonly mac: string;
  readonly speed: number | null;
  readonly internal: boolean;
  readonly virtual: boolean;
}

function toNetwork(interfaces: readonly NetworkData[]): Attributes<'network'> {
  return interfaces
    .filter(({ internal, virtual }) => !internal && !virtual)
    .map(({ iface, mac, speed }) => ({
      name: iface,
      mac: told(mac),
      speed: speed !== null && speed > 0 ? `${speed}Mb/s` : undefined,
      // Only ethtool tells them, and no boot image has it.
      enabledCapabilities: [],
    }));
}

/** Empty texts, dashes and `Unknown` are how systeminformation says that it found nothing. */
function told(text: string | undefined): string | undefined {
  const trimmed = text?.trim() ?? '';
  return ['', '-', 'unknown'].includes(trimmed.toLowerCase()) ? undefined : trimmed;
}

function positive(count: number): number | undefined {
  return count > 0 ? count : undefined;
}

/** The record under its name, if anything in it is known. */
function known<Name extends string, T extends object>(name: Name, record: T): { readonly [_ in Name]?: T } {
  if (Object.values(record).every((value) => value === undefined)) return {};
  return { [name]: record } as { readonly [_ in Name]: T };
}
