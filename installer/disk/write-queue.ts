/**
 * Enough that a disk always has work while the next pieces are decoded. Each job that waits uses
 * memory.
 */
const limit = 8;

/**
 * Runs a bounded number of jobs at the same time, in no particular order. The first failure is the
 * failure of the queue.
 */
export class WriteQueue {
  readonly #running = new Set<Promise<void>>();
  #failure: { readonly error: unknown } | undefined;

  /**
   * Returns when another job may be run.
   * @throws what a job threw
   */
  async room(): Promise<void> {
    while (this.#running.size >= limit) await Promise.race(this.#running);
    this.#throwFailure();
  }

  run(job: () => Promise<void>): void {
    const running = job()
      .catch((error: unknown) => {
        this.#failure ??= { error };
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
  }

  /**
   * Returns when every job has ended.
   * @throws what a job threw
   */
  async drain(): Promise<void> {
    await this.settle();
    this.#throwFailure();
  }

  /** As `drain`, but failures of jobs are not thrown. */
  async settle(): Promise<void> {
    await Promise.all(this.#running);
  }

  #throwFailure(): void {
    if (this.#failure !== undefined) throw this.#failure.error;
  }
}
