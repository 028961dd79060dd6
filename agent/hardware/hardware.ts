import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { within } from '../../clock/within.ts';
import type { AgentAttributes } from './attributes.ts';
import { readBlock } from './block.ts';
import { readCpu } from './cpu.ts';
import { readIdentity } from './identity.ts';
import { MachineFiles } from './machine-files.ts';
import { readMemory } from './memory.ts';
import { readNetwork } from './network.ts';
import { readPci } from './pci.ts';

/** A source that has not answered by then is left out: the kernel may wait for a broken device. */
const sourceTimeoutSeconds = 20;
const never = new AbortController().signal;

/**
 * Takes the inventory of the machine: value for value what tink-agent sends for it, as rules of the
 * server select machines by them (docs/attributes.md says where each comes from). Reads files only,
 * in some hundredths of a second. Never fails: what cannot be found out is absent.
 *
 * @param root directory in which /proc, /sys, /run and /usr are
 */
export async function takeInventory(root = '/', clock: Clock = systemClock): Promise<AgentAttributes> {
  const files = new MachineFiles(root);
  const [cpu, memory, block, network, pci, identity] = await Promise.all([
    attempt(clock, () => readCpu(files)),
    attempt(clock, () => readMemory(files)),
    attempt(clock, () => readBlock(files)),
    attempt(clock, () => readNetwork(files)),
    attempt(clock, () => readPci(files)),
    attempt(clock, () => readIdentity(files)),
  ]);
  return {
    ...(cpu && { cpu }),
    ...(memory && { memory }),
    block: block ?? [],
    network: network ?? [],
    pci: pci?.pci ?? [],
    gpu: pci?.gpu ?? [],
    ...identity,
  };
}

/**
 * The inventory, taken at the first call and kept: what a machine is made of does not change while
 * the agent runs.
 */
export function createInventory(take: () => Promise<AgentAttributes> = takeInventory): () => Promise<AgentAttributes> {
  let taken: Promise<AgentAttributes> | undefined;
  return () => {
    taken ??= take();
    return taken;
  };
}

async function attempt<T>(clock: Clock, source: () => Promise<T>): Promise<T | undefined> {
  try {
    return await within(clock, { seconds: sourceTimeoutSeconds, awaited: 'answer' }, never, source);
  } catch {
    // Part of the machine stays unknown, which the attributes say by its absence.
    return undefined;
  }
}
