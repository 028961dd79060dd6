import type { AgentAttributes } from '../transport/attributes.ts';
import { readBlock } from './block.ts';
import { readCpu } from './cpu.ts';
import { readIdentity } from './identity.ts';
import { MachineFiles } from './machine-files.ts';
import { readMemory } from './memory.ts';
import { readNetwork } from './network.ts';
import { readPci } from './pci.ts';

/** A source that has not answered by then is left out: the kernel may wait for a broken device. */
const sourceTimeoutSeconds = 20;

/**
 * Takes the inventory of the machine: value for value what tink-agent sends for it, as rules of the server select machines by them (docs/attributes.md says where
 * each comes from). Reads files only, in some hundredths of a second. Never fails: what cannot be found out is absent.
 *
 * @param root directory in which /proc, /sys, /run and /usr are
 */
export async function takeInventory(root = '/'): Promise<AgentAttributes> {
  const files = new MachineFiles(root);
  const [cpu, memory, block, network, pci, identity] = await Promise.all([
    attempt(() => readCpu(files)),
    attempt(() => readMemory(files)),
    attempt(() => readBlock(files)),
    attempt(() => readNetwork(files)),
    attempt(() => readPci(files)),
    attempt(() => readIdentity(files)),
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
