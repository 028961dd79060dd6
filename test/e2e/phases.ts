/** What became of a phase. */
export interface Phase {
  readonly name: string;
  readonly ok: boolean;
  readonly seconds: number;
}

/** A phase that did not end well: says which one, why, and where to look. */
export class PhaseError extends Error {
  override readonly name = 'PhaseError';
  readonly phase: string;

  constructor(phase: string, log: string, cause: unknown) {
    super(`phase "${phase}" failed: ${cause instanceof Error ? cause.message : String(cause)}\n  its log: ${log}`, {
      cause,
    });
    this.phase = phase;
  }
}

/** Runs the phases of a story one after the other, says so, and remembers how long each took. */
export class Story {
  readonly phases: Phase[] = [];
  readonly #startedAt = performance.now();

  /** Seconds since the story began. */
  get seconds(): number {
    return roundToTenths((performance.now() - this.#startedAt) / 1000);
  }

  /** Says something about the phase that runs. */
  note(text: string): void {
    process.stdout.write(`         ${text}\n`);
  }

  /**
   * @param log Path of the file that explains a failure of this phase.
   * @throws {PhaseError} `work` throws
   */
  async phase<T>(name: string, log: string, work: () => Promise<T>): Promise<T> {
    const startedAt = performance.now();
    const end = (ok: boolean) => {
      const phase = { name, ok, seconds: roundToTenths((performance.now() - startedAt) / 1000) };
      this.phases.push(phase);
      process.stdout.write(`${ok ? 'ok    ' : 'FAILED'} ${phase.seconds.toFixed(1).padStart(6)} s  ${name}\n`);
    };
    try {
      const result = await work();
      end(true);
      return result;
    } catch (error) {
      end(false);
      throw error instanceof PhaseError ? error : new PhaseError(name, log, error);
    }
  }
}

function roundToTenths(value: number): number {
  return Math.round(value * 10) / 10;
}
