import { Gauge, type Registry } from 'prom-client';
import { createFreeSpaceReader } from './file-systems.ts';
import { usedMemoryBytes } from './used-memory.ts';

/**
 * Adds the state of the machine to the metrics: a system that lives in memory fails first by full
 * memory. Values are read at each request for the metrics, and only then.
 */
export function addMachineMetrics(registry: Registry): void {
  const registers = [registry];
  const readFreeSpace = createFreeSpaceReader();
  new Gauge({
    name: 'nibs_machine_memory_available_bytes',
    help: 'Available memory of the machine.',
    registers,
    async collect() {
      const { mem } = await systemInformation();
      this.set((await mem()).available);
    },
  });
  new Gauge({
    name: 'nibs_machine_memory_used_bytes',
    help: 'Used memory of the machine: total less available; NaN without /proc.',
    registers,
    async collect() {
      this.set((await usedMemoryBytes()) ?? Number.NaN);
    },
  });
  new Gauge({
    name: 'nibs_machine_temperature_celsius',
    help: 'Temperature by sensor (cpu); absent on machines without a supported sensor.',
    labelNames: ['sensor'],
    registers,
    async collect() {
      const { cpuTemperature } = await systemInformation();
      const { main } = await cpuTemperature();
      this.reset();
      if (main !== null) this.set({ sensor: 'cpu' }, main);
    },
  });
  new Gauge({
    name: 'nibs_machine_filesystem_available_bytes',
    help: 'Free space of a local file system, by its mount point.',
    labelNames: ['mountpoint'],
    registers,
    async collect() {
      const fileSystems = await readFreeSpace();
      this.reset();
      for (const { mountPoint, availableBytes } of fileSystems) this.set({ mountpoint: mountPoint }, availableBytes);
    },
  });
}

/** Loaded when needed: it is large, and most agents are never asked for metrics. */
async function systemInformation(): Promise<typeof import('systeminformation')> {
  const { default: library } = await import('systeminformation');
  return library;
}
