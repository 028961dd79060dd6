import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import {
  NewLines,
  type Observation,
  type ObservedMachine,
  ProgressMeter,
  whileProgressing,
} from './progress-limits.ts';

const limits = { stallSeconds: 300, totalSeconds: 1200 };
const start: Observation = { newLines: 0, diskBytes: 0, networkBytes: 0, waitedSeconds: 0, atSeconds: 0 };

test('a machine that does nothing ends the wait after the stall limit', () => {
  const meter = new ProgressMeter(limits, start);
  assert.equal(meter.observe({ ...start, atSeconds: 299 }), undefined);
  assert.match(meter.observe({ ...start, atSeconds: 300 }) ?? '', /no new line on the console.* for 300 s/);
});

for (const [what, progress] of [
  ['a new line on the console', { newLines: 1 }],
  ['a disk access', { diskBytes: 512 }],
  ['a download of a MiB', { networkBytes: 1 << 20 }],
] as const) {
  test(`${what} is progress`, () => {
    const meter = new ProgressMeter(limits, start);
    assert.equal(meter.observe({ ...start, ...progress, atSeconds: 299 }), undefined);
    assert.equal(meter.observe({ ...start, ...progress, atSeconds: 598 }), undefined);
    assert.notEqual(meter.observe({ ...start, ...progress, atSeconds: 600 }), undefined);
  });
}

test('polls are no progress', () => {
  const meter = new ProgressMeter(limits, start);
  assert.equal(meter.observe({ ...start, networkBytes: 400_000, atSeconds: 299 }), undefined);
  assert.notEqual(meter.observe({ ...start, networkBytes: 800_000, atSeconds: 300 }), undefined);
});

test('downloads in small pieces are progress together', () => {
  const meter = new ProgressMeter(limits, start);
  assert.equal(meter.observe({ ...start, networkBytes: 600_000, atSeconds: 200 }), undefined);
  assert.equal(meter.observe({ ...start, networkBytes: 1_200_000, atSeconds: 299 }), undefined);
  assert.equal(meter.observe({ ...start, networkBytes: 1_200_000, atSeconds: 590 }), undefined);
});

test('seconds in which the machine waited for a processor of a busy host do not count', () => {
  const meter = new ProgressMeter(limits, start);
  assert.equal(meter.observe({ ...start, atSeconds: 1199, waitedSeconds: 900 }), undefined);
  assert.equal(Math.round(meter.waitedShare * 100), 75);
  assert.match(meter.observe({ ...start, atSeconds: 1200, waitedSeconds: 900 }) ?? '', /for 300 s/);
});

test('a machine that makes progress without end ends the wait after the total limit', () => {
  const meter = new ProgressMeter(limits, start);
  for (let second = 100; second < 1200; second += 100)
    assert.equal(meter.observe({ ...start, newLines: second, atSeconds: second }), undefined);
  assert.match(meter.observe({ ...start, newLines: 1200, atSeconds: 1200 }) ?? '', /not done after 1200 s/);
});

for (const [what, first, second] of [
  ['a time of the kernel', '[    1.234567] eth0: up', '[   17.000001] eth0: up'],
  ['a time of the log', '2026-11-29T09:30:00.123Z agent: starting', '2026-11-29T09:30:07.456Z agent: starting'],
  ['a process ID', "starting pid 99, tty '': '/sbin/agent'", "starting pid 1204, tty '': '/sbin/agent'"],
  ['an identifier', 'worker 0ff65e38-0ea0-440d-a32b-814def9f3e57', 'worker ce2e62ed-826f-4485-a39f-a82bb74338e2'],
] as const) {
  test(`a line with another ${what.replace(/^an? /, '')} is not new`, () => {
    const lines = new NewLines();
    assert.equal(lines.count([{ text: first }]), 1);
    assert.equal(lines.count([{ text: first }, { text: second }]), 1);
  });
}

test('a line with another word is new', () => {
  const lines = new NewLines();
  assert.equal(lines.count([{ text: 'eth0: up' }, { text: 'eth0: down' }]), 2);
  assert.equal(lines.count([{ text: 'eth0: up' }, { text: 'eth0: down' }, { text: 'added' }, { text: 'faded' }]), 4);
});

test('whileProgressing() ends while a program restarts in a loop', async (context) => {
  context.mock.timers.enable({ apis: ['setInterval'] });
  const lines: { text: string }[] = [];
  const machine: ObservedMachine = {
    console: {
      /** The program has restarted since the last observation. */
      get lines() {
        lines.push({ text: `starting pid ${lines.length}: agent` }, { text: 'agent: cannot start' });
        return lines;
      },
    },
    ...{ pid: process.pid, exited: Promise.withResolvers<number>().promise, monitor: { command: async () => [] } },
  };
  const limits = { stallSeconds: 1e-9, totalSeconds: Infinity };
  const work = async (signal: AbortSignal) => {
    while (lines.length < 2000) {
      context.mock.timers.tick(5000);
      await setImmediate();
      signal.throwIfAborted();
    }
  };
  await assert.rejects(
    whileProgressing(machine, { limits }, work),
    /^Error: no new line on the console, no disk access and no download for 1e-9 s, by the machine's own time/,
  );
});
