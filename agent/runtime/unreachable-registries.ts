import type { Clock } from '../../clock/clock.ts';

/** A registry that could not be reached is not asked again for this time. */
const rememberedSeconds = 30;

/**
 * Registries that could not be reached a moment ago. Where there is a copy of an image, or another
 * place to get it from, they are not asked again for a while: a registry that does not answer would
 * cost every action its time-out.
 */
export class UnreachableRegistries {
  readonly #until = new Map<string, number>();
  readonly #clock: Clock;
  readonly #rememberedSeconds: number;

  /** @param seconds Default: 30. */
  constructor(clock: Clock, seconds = rememberedSeconds) {
    this.#clock = clock;
    this.#rememberedSeconds = seconds;
  }

  /** Whether it was unreachable a moment ago. */
  has(host: string): boolean {
    return (this.#until.get(host) ?? Number.NEGATIVE_INFINITY) > this.#clock.monotonicSeconds();
  }

  /** @returns whether it was unreachable before, however long ago: that was reported. */
  add(host: string): boolean {
    const wasKnown = this.#until.has(host);
    this.#until.set(host, this.#clock.monotonicSeconds() + this.#rememberedSeconds);
    return wasKnown;
  }

  /** It has answered. */
  delete(host: string): void {
    this.#until.delete(host);
  }
}
