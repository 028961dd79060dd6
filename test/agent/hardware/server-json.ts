import type { AgentAttributes } from '../../../agent/hardware/attributes.ts';

/**
 * The attributes in the form in which the server stores them and matches rules against them: with
 * its names for the lists, without empty lists. The keys are in the order of the server's
 * structure, so that two of them can be compared as text.
 */
export function toServerJson({ block, network, pci, gpu, ...attributes }: AgentAttributes): unknown {
  const { cpu, memory, chassis, bios, baseboard, product } = attributes;
  return JSON.parse(
    JSON.stringify(
      {
        cpu,
        memory,
        blockDevices: block,
        networkInterfaces: network,
        pciDevices: pci,
        gpuDevices: gpu,
        chassis,
        bios,
        baseboard,
        product,
      },
      (_, value: unknown) => (Array.isArray(value) && value.length === 0 ? undefined : value),
    ),
  );
}
