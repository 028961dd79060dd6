import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { pollIntervalSeconds } from '../../clock/poll-interval.ts';
import { VirtualClock } from './virtual-clock.ts';

test('VirtualClock: hours pass in milliseconds, in the order of the timers', async () => {
  const clock = new VirtualClock();
  const events: string[] = [];
  const worker = async (name: string, seconds: number) => {
    for (let round = 1; round <= 3; round++) {
      await clock.wait(seconds);
      events.push(`${name}${round} ${clock.elapsedSeconds}`);
    }
  };
  const begin = performance.now();
  await Promise.all([worker('a', 3600), worker('b', 2400)]);
  assert.deepEqual(events, ['b1 2400', 'a1 3600', 'b2 4800', 'a2 7200', 'b3 7200', 'a3 10800']);
  assert.ok(performance.now() - begin < 5000);
});

test('VirtualClock: a thousand hours of polling', async () => {
  const clock = new VirtualClock();
  let polls = 0;
  while (clock.elapsedSeconds < 1000 * 3600) {
    await clock.wait(pollIntervalSeconds(clock, 300));
    polls += 1;
  }
  assert.ok(polls > 1000 * 12 * 0.6 && polls < 1000 * 12, `${polls} polls`);
});

test('VirtualClock: time stands still while files, peers and programs are at work', async () => {
  const clock = new VirtualClock();
  using _far = clock.schedule(1e6, () => {});
  for (let round = 0; round < 20; round++) await readFile(import.meta.filename);
  const server = createServer((socket) => socket.pipe(socket)).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  assert.ok(typeof address === 'object' && address !== null);
  const socket = connect(address.port, '127.0.0.1');
  for (let round = 0; round < 50; round++) {
    socket.write(`round ${round}`);
    await once(socket, 'data');
  }
  socket.destroy();
  server.close();
  await promisify(execFile)('sleep', ['0.05']);
  assert.equal(clock.elapsedSeconds, 0);
});

test('VirtualClock: advance() lets time pass at once', () => {
  const clock = new VirtualClock();
  const calls: number[] = [];
  const call = () => {
    calls.push(clock.elapsedSeconds);
    if (calls.length < 5) clock.schedule(2, call);
  };
  clock.schedule(2, call);
  clock.advance(7);
  assert.deepEqual([calls, clock.elapsedSeconds, clock.pending], [[2, 4, 6], 7, 1]);
});

test('VirtualClock: hold() stops the clock for what it cannot see', async () => {
  const clock = new VirtualClock();
  const held = clock.hold();
  let isOver = false;
  const waiting = clock.wait(10).then(() => {
    isOver = true;
  });
  await new Promise((resolve) => setTimeout(resolve, 30));
  assert.equal(isOver, false);
  held[Symbol.dispose]();
  await waiting;
  assert.equal(clock.elapsedSeconds, 10);
});

test('VirtualClock: the same seed gives the same numbers, spread evenly', () => {
  const draw = (seed: number) => {
    const clock = new VirtualClock({ seed });
    return Array.from({ length: 10_000 }, () => clock.random());
  };
  const [first, again, other] = [draw(3), draw(3), draw(4)];
  assert.deepEqual(first, again);
  assert.notDeepEqual(first, other);
  for (let tenth = 0; tenth < 10; tenth++) {
    const count = first.filter((number) => Math.floor(number * 10) === tenth).length;
    assert.ok(count > 850 && count < 1150, `${count} of 10,000 in tenth ${tenth}`);
  }
});

test('VirtualClock: the time of day can be set; durations and waits do not change', async () => {
  const clock = new VirtualClock({ startsAt: new Date('1970-01-01T00:00:00Z') });
  await clock.wait(5);
  clock.setTimeOfDay(new Date('2026-03-01T00:00:00Z'));
  assert.equal(clock.monotonicSeconds(), 5);
  await clock.wait(2.5);
  assert.equal(clock.now().toISOString(), '2026-03-01T00:00:02.500Z');
});

test('VirtualClock: a wait ends with the reason of its signal; nothing is left of it', async () => {
  const clock = new VirtualClock();
  const reason = new Error('enough');
  await assert.rejects(clock.wait(1, AbortSignal.abort(reason)), reason);
  const controller = new AbortController();
  clock.schedule(3, () => controller.abort(reason));
  await assert.rejects(clock.wait(10, controller.signal), reason);
  assert.deepEqual([clock.elapsedSeconds, clock.pending], [3, 0]);
});
