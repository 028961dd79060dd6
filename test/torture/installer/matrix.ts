import { randomOf } from '../chance.ts';
import { type Cell, runAgain, runCell } from './cell.ts';
import type { DiskOperation } from './disk-protocol.ts';
import { faults } from './faults.ts';
import { createMachine, type Machine, VARIANTS, type Variant } from './machine.ts';
import { createCachedDisk } from './power.ts';
import { type Expected, learnExpected, stateOf } from './states.ts';

export interface RowOptions {
  /** Chooses the points. */
  readonly seed: number;
  /** How many. */
  readonly points: number;
  /** How many contents the disk gets at each point at which its power is lost. Default: 12. */
  readonly losses?: number;
  /** After how many operations the power is lost. Default: `points` of them, chosen by the seed. */
  readonly counts?: readonly number[];
  /** Only the cell of this number. */
  readonly cell?: number | undefined;
  readonly onViolation?: (violation: string) => void;
  /** Ends it after the cell that is running. What was done until then is the result. */
  readonly signal?: AbortSignal;
}

/** What one fault has shown. */
export interface FaultRow {
  readonly fault: string;
  readonly points: number;
  readonly runs: number;
  readonly violations: readonly string[];
  readonly seconds: number;
  /** How often the disk was left so. */
  readonly states: ReadonlyMap<string, number>;
}

/** Names of all faults. */
export const FAULT_NAMES: readonly string[] = ['power-lost', ...Object.keys(faults)];

/** What a disk got in an installation without faults. */
export interface Recording {
  readonly expected: Expected;
  /** How many operations the disk had. */
  readonly operations: number;
  readonly sent: readonly DiskOperation[];
}

/** A machine, and what installations without faults do to its disks. */
export interface Bench extends AsyncDisposable {
  readonly machine: Machine;
  readonly recordings: ReadonlyMap<Variant, Recording>;
}

/** @param variants that are installed. Default: all */
export async function createBench(seed: number, variants: readonly Variant[] = VARIANTS): Promise<Bench> {
  const machine = await createMachine(seed);
  try {
    const recordings = new Map<Variant, Recording>();
    for (const variant of variants) {
      const expected = await learnExpected(machine, variant);
      const all = await machine.disks.operations();
      const sent = all.filter(([disk]) => disk === machine.targetOf(variant)).map(([, operation]) => operation);
      recordings.set(variant, { expected, operations: sent.length, sent });
    }
    return { machine, recordings, [Symbol.asyncDispose]: () => machine[Symbol.asyncDispose]() };
  } catch (error) {
    await machine[Symbol.asyncDispose]();
    throw error;
  }
}

/** Installs with one fault at many points, and checks what is left. */
export async function runFault(bench: Bench, fault: string, options: RowOptions): Promise<FaultRow> {
  const { machine, recordings } = bench;
  const random = randomOf(options.seed);
  if (fault === 'power-lost') return await losePower(bench, random, options);
  const cells = faults[fault]?.({ machine, learned: recordings, points: options.points, random });
  if (cells === undefined) throw new Error(`there is no fault ${fault}: ${FAULT_NAMES.join(' ')}`);
  const row = new RowCounter(fault, options);
  for (const [number, cell] of cells.entries()) {
    if (options.cell !== undefined && options.cell !== number) continue;
    if (options.signal?.aborted) break;
    const expected = recordings.get(cell.variant)?.expected;
    if (expected === undefined) throw new Error(`there is no recording of ${cell.variant}`);
    const result = await runCell(machine, cell, expected);
    // The installer heard the signal, too.
    if (options.signal?.aborted) break;
    row.add(number, cell, result);
  }
  await machine.restore();
  for (const [index, { content, path }] of machine.disks.disks.entries()) {
    if (Buffer.compare(content, machine.initial[index] ?? content) !== 0)
      throw new Error(`${path} was changed without a request`);
  }
  return row.done();
}

/** One of so many is installed again. */
const againEach = 40;

/** At the beginning of a recording: both ends of the disk are cleared, in two parts each. */
const clearingOperations = 4;

/**
 * The power is lost at each operation of the recordings. What the disk has then is computed; a
 * second installation begins with it.
 */
async function losePower({ machine, recordings }: Bench, random: () => number, options: RowOptions): Promise<FaultRow> {
  const row = new RowCounter('power-lost', options);
  const { losses = 12 } = options;
  const perVariant = Math.ceil(options.points / recordings.size);
  let number = 0;
  for (const [variant, { expected, sent }] of recordings) {
    const disk = createCachedDisk(expected.initial, sent);
    // The first ones clear the disk; the last ones are those of the commit.
    const ends = Array.from({ length: Math.ceil(0.7 * perVariant) }, (_, index) => sent.length - index);
    const usual = options.counts ?? [...Array.from({ length: clearingOperations }, (_, index) => index + 1), ...ends];
    const chosen = new Set(usual.filter((count) => count >= 0 && count <= sent.length));
    while (options.counts === undefined && chosen.size < Math.min(perVariant, sent.length))
      chosen.add(Math.floor(random() * sent.length));
    for (let count = 0; count <= sent.length; count++, disk.next()) {
      // Few sectors are in question while tables are changed, and each of their mixtures counts.
      const perPoint = options.counts === undefined && count <= clearingOperations ? 4 * losses : losses;
      for (let loss = 0; chosen.has(count) && loss < (disk.isDirty ? perPoint : 1); loss++, number++) {
        const point = `operation ${count} of ${sent.length}`;
        const isAgain = number % againEach === againEach - 1;
        const isWanted = options.cell === undefined || options.cell === number;
        if (options.signal?.aborted) return row.done();
        const result = await disk.losePower(random, async (content) => {
          if (!isWanted) return undefined;
          const state = stateOf(content, variant, expected);
          const violations = typeof state === 'string' ? [] : [`the disk: ${state.wrong}`];
          if (isAgain) {
            await machine.prepare(variant);
            machine.disks.begin(machine.targetOf(variant));
            machine.diskOf(variant).content.set(content);
            violations.push(...(await runAgain(machine, variant, expected)));
            machine.diskOf(variant).content.set(expected.initial);
          }
          return { violations, runs: isAgain ? 2 : 1, state: typeof state === 'string' ? state : 'wrong' };
        });
        if (result !== undefined) row.add(number, { point, variant }, result, count);
      }
    }
  }
  return row.done();
}

class RowCounter {
  readonly #fault: string;
  readonly #options: RowOptions;
  readonly #points = new Set<string>();
  readonly #violations: string[] = [];
  readonly #states = new Map<string, number>();
  readonly #begin = performance.now();
  #runs = 0;

  constructor(fault: string, options: RowOptions) {
    this.#fault = fault;
    this.#options = options;
  }

  add(
    number: number,
    { point, variant }: Pick<Cell, 'point' | 'variant'>,
    {
      violations,
      runs,
      state,
    }: { readonly violations: readonly string[]; readonly runs: number; readonly state: string },
    pointName: string | number = number,
  ): void {
    this.#points.add(`${variant} ${pointName}`);
    this.#runs += runs;
    this.#states.set(state, (this.#states.get(state) ?? 0) + 1);
    for (const what of violations) {
      const { seed } = this.#options;
      const violation = `SEED=${seed} ROW=${this.#fault} CELL=${number} (${variant}, ${point}): ${what}`;
      this.#violations.push(violation);
      this.#options.onViolation?.(violation);
    }
  }

  done(): FaultRow {
    return {
      ...{ fault: this.#fault, points: this.#points.size, runs: this.#runs, violations: this.#violations },
      ...{ seconds: (performance.now() - this.#begin) / 1000, states: this.#states },
    };
  }
}
