/**
 * Maps the items of `source` in order, `count` of them at once.
 *
 * @param stop is aborted when the reader stops early, so that what is being mapped ends soon
 * @throws what `source` or `map` throws, when its turn comes
 */
export async function* mapAhead<Item, Result>(
  source: AsyncGenerator<Item>,
  count: number,
  map: (item: Item) => Promise<Result>,
  stop: AbortController,
): AsyncGenerator<Result> {
  const ended = Symbol('ended');
  // A generator takes requests for its next items before it has them, and serves them in order.
  const start = async () => {
    const next = await source.next();
    return next.done ? ended : await map(next.value);
  };
  const running: Promise<Result | typeof ended>[] = [];
  try {
    for (;;) {
      while (running.length < count) {
        const result = start();
        result.catch(() => {}); // reported when its turn comes
        running.push(result);
      }
      const result = await running.shift();
      if (result === undefined || result === ended) return;
      yield result as Result;
    }
  } finally {
    stop.abort();
    await Promise.allSettled(running);
    await source.return(undefined);
  }
}
