/** One thing that does not go as usual, at one point of a run. */
export interface Deviation {
  /** What of the possible things. */
  readonly what: string;
  /** From 0 to 1: how long, how much, where. */
  readonly size: number;
}

/**
 * Deviations by the point at which they happen: `w3-a1: rpc ReportActionStatus 2`, the second such
 * call after the start of that action.
 */
export type Deviations = ReadonlyMap<string, Deviation>;

/** What can happen at a point, with its probability. */
export type Odds = readonly (readonly [what: string, probability: number])[];

/**
 * Decides at each point of a run what does not go as usual. All that a run draws comes from its
 * seed; what it drew is kept by point, so that a part of it can be replayed without the rest.
 */
export class Chance {
  /**
   * Since when points are counted. It names them so that they have the same names in a run that
   * leaves out what was before.
   */
  scope = 'begin';
  readonly taken = new Map<string, Deviation>();
  readonly #replayed: Deviations | undefined;
  readonly #random: () => number;
  readonly #counts = new Map<string, number>();
  #isOver = false;

  /** @param replayed these deviations and no others. Default: by the seed */
  constructor(seed: number, replayed?: Deviations) {
    this.#random = randomOf(seed);
    this.#replayed = replayed;
  }

  /** `undefined`: as usual. */
  at(point: string, odds: Odds): Deviation | undefined {
    if (this.#isOver) return undefined;
    const counted = `${this.scope}: ${point}`;
    const count = (this.#counts.get(counted) ?? 0) + 1;
    this.#counts.set(counted, count);
    const key = `${counted} ${count}`;
    const deviation = this.#replayed === undefined ? this.#draw(odds) : this.#replayed.get(key);
    if (deviation !== undefined) this.taken.set(key, deviation);
    return deviation;
  }

  /** From now on all goes as usual. */
  end(): void {
    this.#isOver = true;
  }

  #draw(odds: Odds): Deviation | undefined {
    let left = this.#random();
    for (const [what, probability] of odds) {
      if (left < probability) return { what, size: this.#random() };
      left -= probability;
    }
    return undefined;
  }
}

/** mulberry32: 32 bits of state. Neighbouring seeds give unrelated numbers. */
export function randomOf(seed: number): () => number {
  let state = Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** Between two limits, evenly over the orders of magnitude. */
export function logarithmic(min: number, max: number, size: number): number {
  return min * (max / min) ** size;
}
