/** What is fuzzed: a border that takes bytes from outside. */
import type { Arbitrary } from 'fast-check';

export interface Target {
  readonly name: string;
  /** Valid inputs, and such with one fault. What is found in the corpus is added. */
  readonly seeds: readonly (string | Uint8Array)[];
  /** Inputs by a grammar, besides changed seeds. */
  readonly generated?: Arbitrary<string | Uint8Array>;
  /** Inserted into changed seeds. Default: none but those of all targets. */
  readonly words?: readonly string[];
  /** Largest input. Default: 64 KiB. */
  readonly maxBytes?: number;
  /** Classes of the errors by which an input may be refused. Default: none. */
  readonly refusals?: readonly (abstract new (
    ...parameters: never[]
  ) => Error)[];
  /** Memory that one input may take, in MiB. Default: 256. */
  readonly maxMemoryMiB?: number;
  /** CPU time that any input may take. Default: a second. */
  readonly baseSeconds?: number;
  /** CPU time that one byte of the input may take beyond that. Default: 10 µs. */
  readonly microsecondsPerByte?: number;
  /**
   * Reads the input as the product does, and checks what comes out.
   *
   * @throws {Violation} it is wrong; one of the refusals
   */
  check(input: Buffer): void | Promise<void>;
}

/** What an input must not do. */
export class Violation extends Error {
  override readonly name = 'Violation';
}

/** @throws {Violation} */
export function require(condition: boolean, what: () => string): asserts condition {
  if (!condition) throw new Violation(what());
}
