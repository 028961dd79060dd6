import { Gauge, type Registry } from 'prom-client';
import { usedMemoryBytes } from './used-memory.ts';

/**
 * Adds how the machine is to the metrics: in a system that lives in memory a full memory is what fails first. Read at each request for the metrics, and only then.
 */
export function addMachineMetrics(registry: Registry): void {
  const registers = [registry];
  new Gauge({
    name: 'nibs_machine_memory_available_bytes',
    help: 'Memory of the machine that programs and images can still take.',
    registers,
    async collect() {
      const { mem } = await systemInformation();
      this.set((await mem()).available);
    },
  });
  new Gauge({
    name: 'nibs_machine_memory_used_bytes',
    help: 'Memory of the machine that programs and images cannot take any more; NaN without /proc.',
    registers,
    async collect() {
      this.set((await usedMemoryBytes()) ?? Number.NaN);
    },
  });
  new Gauge({
    name: 'nibs_machine_temperature_celsius',
    help: 'Temperature by sensor (cpu); not there on a machine without a sensor that the kernel knows.',
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
    help: 'What can still be written to a file system, by the directory it is mounted at; not there without the program df.',
    labelNames: ['mountpoint'],
    registers,
    async collect() {
      const { getDiskInfo } = await import('node-disk-info');
      // It runs `df -P`, which counts in KiB. The container image of the agent has no df.
      const fileSystems = await getDiskInfo().catch(() => []);
      this.reset();
      for (const { mounted, available } of fileSystems) this.set({ mountpoint: mounted }, available * 1024);
    },
  });
}

/** Loaded here, because it is large and most agents are never asked. */
async function systemInformation(): Promise<typeof import('systeminformation')> {
  const { default: library } = await import('systeminformation');
  return library;
}
