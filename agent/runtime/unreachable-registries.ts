import type { Clock } from '../../clock/clock.ts';

/** A registry that could not be reached is not asked again for this time. */
const rememberedSeconds = 30;

/**
 * Registries that could not be reached recently. Where there is a local copy of an image, or
 * another mirror, they are not asked again for a while: each action would wait for their timeout.
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

  /** Whether it was unreachable recently. */
  has(host: string): boolean {
    return (this.#until.get(host) ?? Number.NEGATIVE_INFINITY) > this.#clock.monotonicSeconds();
  }

  /** @returns whether it was unreachable before, at any time: that was reported */
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
