import { Session } from 'node:inspector';

interface Script {
  readonly url: string;
  readonly scriptId: string;
  readonly functions: readonly { readonly ranges: readonly Range[] }[];
}

interface Range {
  readonly startOffset: number;
  readonly endOffset: number;
  readonly count: number;
}

/**
 * Which blocks of the product's code have run in this thread, by V8's own counters (Chrome DevTools
 * Protocol, `Profiler.takePreciseCoverage`). To ask for them takes a millisecond or two.
 */
export class Coverage implements Disposable {
  readonly #session = new Session();
  /** Blocks, each with the order of magnitude of how often it ran. */
  readonly #seen = new Set<string>();

  constructor() {
    this.#session.connect();
    this.#post('Profiler.enable');
    this.#post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });
  }

  /** The blocks that ran since the last call of this or of `takeCode()`. */
  take(): readonly string[] {
    return this.#takeScripts().flatMap(blocksOf);
  }

  /** The code that ran since the last call of this or of `take()`. */
  takeCode(): CoveredCode {
    return new CoveredCode(this.#takeScripts().map((script) => [script.scriptId, paint(script)]));
  }

  /** Whether one of these blocks is not remembered. */
  hasNew(blocks: readonly string[]): boolean {
    return blocks.some((block) => !this.#seen.has(block));
  }

  remember(blocks: readonly string[]): void {
    for (const block of blocks) this.#seen.add(block);
  }

  [Symbol.dispose](): void {
    this.#post('Profiler.stopPreciseCoverage');
    this.#session.disconnect();
  }

  #takeScripts(): readonly Script[] {
    const { result } = this.#post('Profiler.takePreciseCoverage') as { readonly result: readonly Script[] };
    return result.filter(({ url }) => isProduct.test(url));
  }

  /** Within one thread the session answers before this returns. */
  #post(method: string, parameters?: object): unknown {
    let answer: unknown;
    this.#session.post(method, parameters, (error, result) => {
      if (error !== null) throw error;
      answer = result;
    });
    return answer;
  }
}

/** Characters of source code: a bit for each, by script. */
export class CoveredCode {
  readonly #scripts: Map<string, Uint8Array>;

  constructor(scripts: Iterable<readonly [id: string, covered: Uint8Array]> = []) {
    this.#scripts = new Map(scripts);
  }

  add(other: CoveredCode): void {
    for (const [id, covered] of other.#scripts) {
      const known = this.#scripts.get(id) ?? new Uint8Array();
      const both = new Uint8Array(Math.max(known.length, covered.length));
      both.set(covered);
      for (const [offset, bit] of known.entries()) if (bit === 1) both[offset] = 1;
      this.#scripts.set(id, both);
    }
  }

  /** What is not in another one. */
  without(other: CoveredCode): CoveredCode {
    return new CoveredCode(
      [...this.#scripts].map(([id, covered]) => {
        const known = other.#scripts.get(id) ?? new Uint8Array();
        return [id, covered.map((bit, offset) => bit & ~(known[offset] ?? 0))] as const;
      }),
    );
  }

  /** Number of characters. */
  get size(): number {
    return this.#scripts.values().reduce((sum, covered) => sum + covered.reduce((count, bit) => count + bit, 0), 0);
  }
}

const isProduct =
  /^file:.*\/(?:agent|initramfs|installer|net|registry|text|clock|files|errors|tools|proto)\/[^?]*\.ts$/;

function blocksOf({ scriptId, functions }: Script): string[] {
  return functions.flatMap(({ ranges }) =>
    ranges
      .filter(({ count }) => count > 0)
      .map(({ startOffset, endOffset, count }) => {
        const times = Math.min(6, Math.floor(Math.log2(count)));
        return `${scriptId} ${startOffset} ${endOffset} ${times}`;
      }),
  );
}

/** V8 gives outer functions and blocks before those in them. */
function paint({ functions }: Script): Uint8Array {
  const ranges = functions.flatMap((one) => one.ranges);
  const covered = new Uint8Array(ranges.reduce((end, { endOffset }) => Math.max(end, endOffset), 0));
  for (const { startOffset, endOffset, count } of ranges) covered.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  return covered;
}
