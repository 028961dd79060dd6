import type { CpuAttributes, ProcessorAttributes } from './attributes.ts';
import { firmwareDescription } from './devicetree.ts';
import type { MachineFiles } from './machine-files.ts';

const directory = '/sys/devices/system/cpu';

type CpuRecord = Readonly<Record<string, string>>;

/** A hardware thread that is online. */
interface Thread {
  readonly record: CpuRecord;
  readonly packageId: number;
  readonly coreId: number;
}

/**
 * The processors by package, from /sys/devices/system/cpu/cpuN/topology, with the words of
 * /proc/cpuinfo for the first thread of each. Threads that are offline do not count.
 */
export async function readCpu(files: MachineFiles): Promise<CpuAttributes> {
  const records = parseCpuInfo((await files.bytes('/proc/cpuinfo'))?.toString('utf8') ?? '');
  const names = (await files.names(directory)).filter((name) => /^cpu\d+$/.test(name));
  const threads = (await Promise.all(names.map((name) => readThread(files, name, records)))).filter(
    (thread) => thread !== undefined,
  );
  const packages = Map.groupBy(threads, ({ packageId }) => packageId);
  const socModel = (await firmwareDescription(files))?.soc ?? '';
  const processors = [...packages]
    .sort(([a], [b]) => a - b)
    .map(([packageId, members]) => toProcessor(packageId, members, socModel));
  return {
    totalCores: processors.reduce((sum, { cores = 0 }) => sum + cores, 0),
    totalThreads: threads.length,
    processors,
  };
}

async function readThread(
  files: MachineFiles,
  name: string,
  records: ReadonlyMap<number, CpuRecord>,
): Promise<Thread | undefined> {
  const [online, packageId = -1, coreId = -1] = await Promise.all([
    files.integer(`${directory}/${name}/online`),
    files.integer(`${directory}/${name}/topology/physical_package_id`),
    files.integer(`${directory}/${name}/topology/core_id`),
  ]);
  const record = records.get(Number(name.slice('cpu'.length)));
  return online === 0 || record === undefined ? undefined : { record, packageId, coreId };
}

function toProcessor(packageId: number, threads: readonly Thread[], socModel: string): ProcessorAttributes {
  const record = threads[0]?.record ?? {};
  const capabilities = firstOf(record, ['flags', 'Features', 'features']);
  return {
    // A machine without such numbers has one package, number 0.
    id: Math.max(0, packageId),
    cores: new Set(threads.map(({ coreId }) => coreId)).size,
    threads: threads.length,
    vendor: firstOf(record, ['vendor_id', 'isa']) || (record['CPU implementer'] === '0x41' ? 'ARM' : ''),
    model: firstOf(record, ['model name', 'Processor', 'cpu model', 'Model Name', 'uarch', 'machine']) || socModel,
    capabilities: capabilities === '' ? [] : capabilities.split(' '),
  };
}

/** The first of some keys that has a value: each architecture calls them by other names. */
function firstOf(record: CpuRecord, keys: readonly string[]): string {
  return keys.map((key) => record[key] ?? '').find((value) => value !== '') ?? '';
}

/**
 * Records of `key : value` lines, separated by empty lines, by the number of the thread. What
 * stands before the first number belongs to it.
 */
function parseCpuInfo(text: string): Map<number, CpuRecord> {
  const records = new Map<number, CpuRecord>();
  let record: Record<string, string> = {};
  for (const line of text.split('\n').map((one) => one.trim())) {
    const colon = line.indexOf(':');
    if (colon >= 0) record[line.slice(0, colon).trim()] = line.slice(colon + 1).trim();
    const number = record['processor'] ?? record['cpu number'];
    if (line !== '' || number === undefined) continue;
    records.set(Number(number), record);
    record = {};
  }
  return records;
}
