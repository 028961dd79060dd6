/** Requests over time: how even they are. All times are in seconds. */

/** A request of a worker, when it arrived. */
export interface Request {
  readonly atSeconds: number;
  readonly worker: string;
}

export interface Spread {
  readonly seconds: number;
  readonly requests: number;
  /** Requests a second on average. */
  readonly mean: number;
  /** Requests in the busiest second. */
  readonly max: number;
}

/** How the requests of a span are spread over its seconds; the last one may be shorter. */
export function spreadOf(requests: readonly Request[], fromSeconds: number, toSeconds: number): Spread {
  const times = requests.flatMap(({ atSeconds }) =>
    atSeconds >= fromSeconds && atSeconds < toSeconds ? [atSeconds] : [],
  );
  const seconds = toSeconds - fromSeconds;
  return { seconds, requests: times.length, mean: times.length / seconds, max: busiest(times, 1) };
}

export interface Return {
  readonly workers: number;
  /** How many of them came back in the busiest second, and in the busiest tenth of one. */
  readonly inSecond: number;
  readonly inTenth: number;
  /** When the last one was back, since the server was. */
  readonly lastSeconds: number;
}

/** How workers come back to a server: the first request of each from a time on. */
export function returnOf(requests: readonly Request[], fromSeconds: number): Return {
  const first = new Map<string, number>();
  for (const { atSeconds, worker } of requests)
    if (atSeconds >= fromSeconds && !first.has(worker)) first.set(worker, atSeconds);
  const times = [...first.values()];
  const lastSeconds = Math.max(...times) - fromSeconds;
  return { workers: times.length, inSecond: busiest(times, 1), inTenth: busiest(times, 0.1), lastSeconds };
}

/** Most of these times in any span of that length, wherever it begins. */
function busiest(times: readonly number[], spanSeconds: number): number {
  const sorted = times.toSorted((one, other) => one - other);
  let most = 0;
  let first = 0;
  for (const [index, time] of sorted.entries()) {
    while ((sorted[first] ?? 0) <= time - spanSeconds) first += 1;
    most = Math.max(most, index - first + 1);
  }
  return most;
}
