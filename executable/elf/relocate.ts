import type { DynamicSymbol, ElfImage, Relocation } from './image.ts';
import type { Machine } from './machine.ts';
import type { Scope } from './scope.ts';
import type { ThreadLocalBlock } from './thread-local.ts';

/** The program and the library as they are in memory, before the loader has done its part. */
export interface Memory {
  /** @throws {Error} the file has no place for it */
  write(address: number, value: number): void;
  read(address: number, sizeBytes: number): Buffer;
  copy(from: number, to: number, sizeBytes: number): void;
}

export interface Parts {
  readonly program: ElfImage;
  readonly library: ElfImage;
  readonly base: number;
  readonly machine: Machine;
  readonly scope: Scope;
  readonly threadLocals: ThreadLocalBlock;
}

const hex = (address: number) => `0x${address.toString(16)}`;

/**
 * Settles the relocations of the library as far as they concern only it and the program.
 * @returns those that are left to the loader
 */
export function relocateLibrary({ library, base, machine, scope, threadLocals }: Parts, memory: Memory): Relocation[] {
  const { relocation } = machine;
  const left: Relocation[] = [];
  for (const one of library.relocations) {
    const { type, symbol, addend } = one;
    const address = base + one.address;
    const inBlock = threadLocals.libraryOffset + (symbol?.value ?? 0) + addend;
    if (type === relocation.relative) memory.write(address, base + addend);
    else if (type === relocation.tlsModuleOffset) memory.write(address, inBlock);
    else if (type === relocation.tlsOffset) memory.write(address, threadLocals.fromThreadPointer(inBlock));
    // Without a symbol these are of the file itself, which is the program now.
    else if (type === relocation.tlsModule) left.push({ address, type, symbol: undefined, addend: 0 });
    else if (type === relocation.tlsDescriptor) left.push({ address, type, symbol: undefined, addend: inBlock });
    else if (symbol !== undefined && isReference(type, machine)) {
      const value = scope.addressOf(symbol, { isCall: type === relocation.jumpSlot });
      if (value !== undefined) memory.write(address, value + addend);
      else left.push({ address, type, symbol, addend });
    } else throw new Error(`relocation of unknown type ${type} at ${hex(one.address)} of the library`);
  }
  return left;
}

/**
 * Settles the relocations of the program that concern the library. Variables of the library that
 * the program has a place for are put there.
 * @param soname of the library
 * @param ofLibrary the relocations of the library that are left: some of these may be of such
 *   variables
 * @returns those that are left to the loader, of program and library
 */
export function relocateProgram(
  { program, base, machine, scope, threadLocals }: Parts,
  memory: Memory,
  soname: string,
  ofLibrary: readonly Relocation[],
): Relocation[] {
  const { relocation } = machine;
  const left: Relocation[] = [...ofLibrary];
  for (const one of program.relocations) {
    const { address, type, symbol, addend } = one;
    if (symbol?.version?.file !== soname) {
      left.push(one);
      continue;
    }
    const found = scope.libraryVariable(symbol) ?? missing(symbol);
    if (type === relocation.copy) {
      const from = base + found.value;
      const sizeBytes = Math.min(symbol.sizeBytes, found.sizeBytes);
      memory.copy(from, address, sizeBytes);
      for (const inside of ofLibrary)
        if (from <= inside.address && inside.address < from + sizeBytes)
          left.push({ ...inside, address: inside.address - from + address });
    } else if (type === relocation.tlsOffset) {
      const inBlock = threadLocals.libraryOffset + found.value + addend;
      memory.write(address, threadLocals.fromThreadPointer(inBlock));
    } else if (isReference(type, machine)) {
      const value = scope.addressOf(symbol, { isCall: type === relocation.jumpSlot }) ?? missing(symbol);
      memory.write(address, value + addend);
    } else throw new Error(`relocation of unknown type ${type} at ${hex(address)} of the program`);
  }
  return left;
}

function isReference(type: number, { relocation }: Machine): boolean {
  return type === relocation.absolute || type === relocation.globalData || type === relocation.jumpSlot;
}

function missing({ name, version }: DynamicSymbol): never {
  throw new Error(`the library does not have ${name} of version ${version?.name}, which the program needs`);
}
