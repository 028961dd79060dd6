import { type DynamicSymbol, type ElfImage, SymbolType } from './image.ts';

const typeOf = ({ info }: DynamicSymbol) => info & 0xf;

/**
 * What names mean in a program with a library in it: as the loader finds them, the program before
 * the library.
 */
export class Scope {
  readonly #program = new Map<string, DynamicSymbol>();
  readonly #library = new Map<string, DynamicSymbol>();
  readonly #base: number;

  /** @param base address of the library's first byte */
  constructor(program: ElfImage, library: ElfImage, base: number) {
    this.#base = base;
    for (const symbol of program.symbols)
      if (symbol.value !== 0 && typeOf(symbol) !== SymbolType.tls) this.#program.set(symbol.name, symbol);
    for (const symbol of library.symbols) if (symbol.section !== 0) this.#library.set(keyOf(symbol), symbol);
  }

  /**
   * The address that a reference is to; undefined when another library has it.
   * @param isCall whether it is a slot for calls. Those do not count what the program has for a
   *   function of another file, which is such a call itself.
   */
  addressOf(symbol: DynamicSymbol, { isCall }: { isCall: boolean }): number | undefined {
    const own = this.#program.get(symbol.name);
    const isSameVersion = own?.version === undefined || own.version.name === symbol.version?.name;
    if (own !== undefined && isSameVersion && (own.section !== 0 || !isCall)) return own.value;
    const found = this.libraryVariable(symbol);
    if (found !== undefined && typeOf(found) === SymbolType.indirectFunction)
      throw new Error(`${symbol.name} is a function that chooses itself when it is loaded, which is not supported`);
    return found === undefined ? undefined : this.#base + found.value;
  }

  /** What the library has under a name and version. */
  libraryVariable(symbol: DynamicSymbol): DynamicSymbol | undefined {
    return this.#library.get(keyOf(symbol));
  }
}

const keyOf = ({ name, version }: DynamicSymbol) => `${name}@${version?.name ?? ''}`;
