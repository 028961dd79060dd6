/**
 * What a machine is made of, in the shape in which the current agent API sends it (message
 * `AgentAttributes`; fields as its JSON form, in camel case), value for value as tink-agent sends
 * it (docs/attributes.md). `unknown` and empty texts are values of tink-agent's; absent is what
 * could not be read at all. Sizes are texts as `16GB`: whole units of 1024, rounded up.
 */
export interface AgentAttributes {
  readonly cpu?: CpuAttributes | undefined;
  readonly memory?: MemoryAttributes | undefined;
  readonly block: readonly BlockAttributes[];
  readonly network: readonly NetworkAttributes[];
  readonly pci: readonly PciAttributes[];
  readonly gpu: readonly PciAttributes[];
  readonly chassis?: ChassisAttributes | undefined;
  readonly bios?: BiosAttributes | undefined;
  readonly baseboard?: BaseboardAttributes | undefined;
  readonly product?: ProductAttributes | undefined;
}

export interface CpuAttributes {
  readonly totalCores?: number | undefined;
  readonly totalThreads?: number | undefined;
  readonly processors: readonly ProcessorAttributes[];
}

/** One package, in one socket. */
export interface ProcessorAttributes {
  readonly id: number;
  readonly cores?: number | undefined;
  readonly threads?: number | undefined;
  /** As /proc/cpuinfo has it: `GenuineIntel`. */
  readonly vendor?: string | undefined;
  /** As /proc/cpuinfo has it: `Intel(R) Xeon(R) Gold 6130 CPU @ 2.10GHz`. */
  readonly model?: string | undefined;
  /** Flags as the kernel names them: `sse2`, `avx`, … */
  readonly capabilities: readonly string[];
}

export interface MemoryAttributes {
  /** What is built in. */
  readonly total?: string | undefined;
  /** What the kernel can give to programs. */
  readonly usable?: string | undefined;
}

export interface BlockAttributes {
  /** Kernel name without `/dev/`. */
  readonly name: string;
  /** `SCSI`, `NVMe`, `virtio`, `MMC`, `IDE`. */
  readonly controllerType?: string | undefined;
  /** `HDD`, `SSD`, `ODD`. */
  readonly driveType?: string | undefined;
  readonly size?: string | undefined;
  readonly physicalBlockSize?: string | undefined;
  readonly vendor?: string | undefined;
  readonly model?: string | undefined;
  readonly wwn?: string | undefined;
  readonly serialNumber?: string | undefined;
}

export interface NetworkAttributes {
  readonly name: string;
  /** Empty where the address is not the device's own. */
  readonly mac?: string | undefined;
  /** In Mb/s: `1000`; `-1` where the kernel knows none. */
  readonly speed?: string | undefined;
  readonly enabledCapabilities: readonly string[];
}

/** Names from the PCI ID database of the machine. */
export interface PciAttributes {
  readonly vendor?: string | undefined;
  readonly product?: string | undefined;
  readonly class?: string | undefined;
  /** Absent: no driver has it. */
  readonly driver?: string | undefined;
}

export interface ChassisAttributes {
  readonly serial?: string | undefined;
  readonly vendor?: string | undefined;
}

export interface BiosAttributes {
  readonly vendor?: string | undefined;
  readonly version?: string | undefined;
  /** As SMBIOS has it, month first: `11/12/2020`. */
  readonly releaseDate?: string | undefined;
}

export interface BaseboardAttributes {
  readonly vendor?: string | undefined;
  readonly product?: string | undefined;
  readonly version?: string | undefined;
  readonly serialNumber?: string | undefined;
}

export interface ProductAttributes {
  readonly name?: string | undefined;
  readonly vendor?: string | undefined;
  readonly serialNumber?: string | undefined;
}
