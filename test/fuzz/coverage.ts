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

  /** The blocks that ran since the last call. */
  take(): readonly string[] {
    const { result } = this.#post('Profiler.takePreciseCoverage') as { readonly result: readonly Script[] };
    return result.filter(({ url }) => isProduct.test(url)).flatMap(blocksOf);
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
