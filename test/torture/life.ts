import type { Clock, Timer } from '../../clock/clock.ts';

/**
 * One process of the agent, from its start until it ends or is killed. A killed one takes no
 * further step: its timers are gone, and no promise of its ports is ever settled.
 */
export class Life {
  readonly stop = new AbortController();
  /** Time as this process sees it. */
  readonly clock: Clock;
  readonly startedAtSeconds: number;
  #isAlive = true;
  readonly #timers = new Set<Timer>();
  readonly #onDeath: (() => void)[] = [];

  constructor(machine: Clock) {
    this.startedAtSeconds = machine.monotonicSeconds();
    const schedule = (seconds: number, callback: () => void): Timer => {
      if (!this.#isAlive) return { restart: () => {}, [Symbol.dispose]: () => {} };
      const timer = machine.schedule(seconds, () => {
        this.#timers.delete(timer);
        callback();
      });
      this.#timers.add(timer);
      return {
        restart: () => {
          if (!this.#isAlive) return;
          this.#timers.add(timer);
          timer.restart();
        },
        [Symbol.dispose]: () => {
          this.#timers.delete(timer);
          timer[Symbol.dispose]();
        },
      };
    };
    this.clock = {
      now: () => machine.now(),
      monotonicSeconds: () => machine.monotonicSeconds(),
      random: () => machine.random(),
      schedule,
      async wait(seconds, signal) {
        signal?.throwIfAborted();
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        using _ = schedule(seconds, resolve);
        const abort = () => reject(signal?.reason);
        signal?.addEventListener('abort', abort, { once: true });
        try {
          await promise;
        } finally {
          signal?.removeEventListener('abort', abort);
        }
      },
    };
  }

  get isAlive(): boolean {
    return this.#isAlive;
  }

  /** What happens to the outside when the process is gone: its connections close. */
  onDeath(callback: () => void): void {
    this.#onDeath.push(callback);
  }

  die(): void {
    if (!this.#isAlive) return;
    this.#isAlive = false;
    for (const timer of this.#timers) timer[Symbol.dispose]();
    this.#timers.clear();
    for (const callback of this.#onDeath.splice(0)) callback();
  }

  /** The same promise for as long as the process lives. */
  guard<Value>(work: Promise<Value>): Promise<Value> {
    return new Promise<Value>((resolve, reject) => {
      work.then(
        (value) => this.#isAlive && resolve(value),
        (error) => this.#isAlive && reject(error),
      );
    });
  }
}
