/**
 * What differs between processors in how files are linked (the processor supplements of the System
 * V ABI).
 */
export interface Machine {
  /** Largest page that its kernels use: segments start on different ones. */
  readonly pageSizeBytes: number;
  /** Numbers of the relocations that dynamically linked files have. */
  readonly relocation: {
    /** Address of a symbol, with addend. */
    readonly absolute: number;
    /** The content of a library's variable, for a program that has it in a place of its own. */
    readonly copy: number;
    readonly globalData: number;
    readonly jumpSlot: number;
    /** Address in the same file. */
    readonly relative: number;
    readonly tlsModule: number;
    readonly tlsModuleOffset: number;
    /** Distance from the thread pointer. */
    readonly tlsOffset: number;
    readonly tlsDescriptor: number;
  };
  /** Whether the program's thread-local variables end at the thread pointer, or start behind it. */
  readonly tlsEndsAtThreadPointer: boolean;
}

const machines: Readonly<Record<number, Machine>> = {
  // x86-64
  62: {
    pageSizeBytes: 0x1000,
    relocation: {
      ...{ absolute: 1, copy: 5, globalData: 6, jumpSlot: 7, relative: 8 },
      ...{ tlsModule: 16, tlsModuleOffset: 17, tlsOffset: 18, tlsDescriptor: 36 },
    },
    tlsEndsAtThreadPointer: true,
  },
  // AArch64
  183: {
    pageSizeBytes: 0x10000,
    relocation: {
      ...{ absolute: 257, copy: 1024, globalData: 1025, jumpSlot: 1026, relative: 1027 },
      ...{ tlsModule: 1028, tlsModuleOffset: 1029, tlsOffset: 1030, tlsDescriptor: 1031 },
    },
    tlsEndsAtThreadPointer: false,
  },
};

/**
 * @param number as in the ELF header
 * @throws {Error} the processor is not supported
 */
export function machineOf(number: number): Machine {
  const machine = machines[number];
  if (machine === undefined)
    throw new Error(`ELF files for machine ${number} cannot be linked: only x86-64 and AArch64`);
  return machine;
}

export function roundUp(value: number, multiple: number): number {
  return Math.ceil(value / multiple) * multiple;
}

export function roundDown(value: number, multiple: number): number {
  return Math.floor(value / multiple) * multiple;
}
