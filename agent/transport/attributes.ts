/**
 * What a machine is made of, in the shape in which the current agent API sends it (message `AgentAttributes`; fields as its JSON form, in camel case).
 * Whatever could not be found out is absent. Sizes are texts as `16GB`: whole units of 1024, rounded up.
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
  readonly vendor?: string | undefined;
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
  /** `HDD`, `SSD`, `ODD`, `FDD`. */
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
  readonly mac?: string | undefined;
  /** `1000Mb/s`. */
  readonly speed?: string | undefined;
  readonly enabledCapabilities: readonly string[];
}

/** Names from the PCI ID database of the machine, or the numbers (`0x1af4`) where it has none. */
export interface PciAttributes {
  readonly vendor?: string | undefined;
  readonly product?: string | undefined;
  readonly class?: string | undefined;
  readonly driver?: string | undefined;
}

export interface ChassisAttributes {
  readonly serial?: string | undefined;
  readonly vendor?: string | undefined;
}

export interface BiosAttributes {
  readonly vendor?: string | undefined;
  readonly version?: string | undefined;
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
