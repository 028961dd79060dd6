import assert from 'node:assert/strict';
import { test } from 'node:test';
import { mapAhead } from '../../../installer/qcow2/map-ahead.ts';

async function* numbers(count: number): AsyncGenerator<number> {
  for (let i = 0; i < count; i++) yield i;
}

/** Maps each item when the test resolves it. */
function controlled() {
  const started: PromiseWithResolvers<string>[] = [];
  const map = (item: number) => {
    const result = Promise.withResolvers<string>();
    started[item] = result;
    return result.promise;
  };
  return { started, map };
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

test('mapAhead() maps some items at once, and yields them in order', async () => {
  const { started, map } = controlled();
  const results = mapAhead(numbers(5), 3, map, new AbortController());
  const first = results.next();
  await turn();
  assert.equal(started.length, 3);
  started[2]?.resolve('c');
  started[1]?.resolve('b');
  started[0]?.resolve('a');
  assert.equal((await first).value, 'a');
  assert.equal((await results.next()).value, 'b');
  assert.equal((await results.next()).value, 'c');
  await turn();
  started[3]?.resolve('d');
  assert.equal((await results.next()).value, 'd');
  started[4]?.resolve('e');
  assert.equal((await results.next()).value, 'e');
  assert.ok((await results.next()).done);
});

test('mapAhead() throws what fails when its turn comes, and ends the rest', async () => {
  const { started, map } = controlled();
  const stop = new AbortController();
  // As a read with this signal does.
  const stoppable = (item: number) => {
    const stopped = new Promise<never>((_, reject) => {
      stop.signal.addEventListener('abort', () => reject(stop.signal.reason));
      if (stop.signal.aborted) reject(stop.signal.reason);
    });
    return Promise.race([map(item), stopped]);
  };
  const results = mapAhead(numbers(5), 3, stoppable, stop);
  const first = results.next();
  await turn();
  started[0]?.resolve('a');
  assert.equal((await first).value, 'a');
  started[1]?.reject(new Error('the second'));
  await assert.rejects(results.next(), /^Error: the second$/);
  assert.ok(stop.signal.aborted);
  assert.ok((await results.next()).done);
});

test('mapAhead() throws what its source throws, after the items before', async () => {
  const source = async function* () {
    yield 1;
    throw new Error('no more');
  };
  const results = mapAhead(source(), 4, async (item) => item * 2, new AbortController());
  assert.equal((await results.next()).value, 2);
  await assert.rejects(results.next(), /no more/);
});

test('mapAhead() closes its source when the reader stops', async () => {
  let isClosed = false;
  const source = async function* () {
    try {
      yield* numbers(100);
    } finally {
      isClosed = true;
    }
  };
  for await (const item of mapAhead(source(), 4, async (item) => item, new AbortController())) if (item === 2) break;
  assert.ok(isClosed);
});
