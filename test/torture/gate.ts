/** Stops lanes of work between two of their steps, so that what they do is seen at rest. */
export class Gate {
  /** Lanes that still pass. */
  #lanes: number;
  #stopped = 0;
  #allStopped = Promise.withResolvers<void>();
  #opened: PromiseWithResolvers<void> | undefined;

  constructor(lanes: number) {
    this.#lanes = lanes;
  }

  /** Called by a lane before each step. Waits while the gate is closed. */
  async pass(): Promise<void> {
    if (this.#opened === undefined) return;
    this.#stopped += 1;
    this.#check();
    await this.#opened.promise;
  }

  /** Called by a lane that has ended. */
  leave(): void {
    this.#lanes -= 1;
    this.#check();
  }

  /** Resolves when no lane is within a step. Disposal opens the gate. */
  async close(): Promise<Disposable> {
    const opened = Promise.withResolvers<void>();
    this.#opened = opened;
    this.#stopped = 0;
    this.#allStopped = Promise.withResolvers<void>();
    this.#check();
    await this.#allStopped.promise;
    return {
      [Symbol.dispose]: () => {
        this.#opened = undefined;
        opened.resolve();
      },
    };
  }

  #check(): void {
    if (this.#stopped === this.#lanes) this.#allStopped.resolve();
  }
}
