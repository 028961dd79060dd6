import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Observation, PatienceMeter } from './patience.ts';

const limits = { stallSeconds: 300, totalSeconds: 1200 };
const start: Observation = { consoleLines: 0, diskBytes: 0, networkBytes: 0, waitedSeconds: 0, atSeconds: 0 };

test('a machine that does nothing ends the wait after the stall limit', () => {
  const meter = new PatienceMeter(limits, start);
  assert.equal(meter.observe({ ...start, atSeconds: 299 }), undefined);
  assert.match(meter.observe({ ...start, atSeconds: 300 }) ?? '', /no line on the console.* for 300 s/);
});

for (const [what, progress] of [
  ['a line on the console', { consoleLines: 1 }],
  ['a disk access', { diskBytes: 512 }],
  ['a download of a MiB', { networkBytes: 1 << 20 }],
] as const) {
  test(`${what} is progress`, () => {
    const meter = new PatienceMeter(limits, start);
    assert.equal(meter.observe({ ...start, ...progress, atSeconds: 299 }), undefined);
    assert.equal(meter.observe({ ...start, ...progress, atSeconds: 598 }), undefined);
    assert.notEqual(meter.observe({ ...start, ...progress, atSeconds: 600 }), undefined);
  });
}

test('polls are no progress', () => {
  const meter = new PatienceMeter(limits, start);
  assert.equal(meter.observe({ ...start, networkBytes: 400_000, atSeconds: 299 }), undefined);
  assert.notEqual(meter.observe({ ...start, networkBytes: 800_000, atSeconds: 300 }), undefined);
});

test('downloads in small pieces are progress together', () => {
  const meter = new PatienceMeter(limits, start);
  assert.equal(meter.observe({ ...start, networkBytes: 600_000, atSeconds: 200 }), undefined);
  assert.equal(meter.observe({ ...start, networkBytes: 1_200_000, atSeconds: 299 }), undefined);
  assert.equal(meter.observe({ ...start, networkBytes: 1_200_000, atSeconds: 590 }), undefined);
});

test('seconds in which the machine waited for a processor of a busy host do not count', () => {
  const meter = new PatienceMeter(limits, start);
  assert.equal(meter.observe({ ...start, atSeconds: 1199, waitedSeconds: 900 }), undefined);
  assert.equal(Math.round(meter.waitedShare * 100), 75);
  assert.match(meter.observe({ ...start, atSeconds: 1200, waitedSeconds: 900 }) ?? '', /for 300 s/);
});

test('a machine that goes round in circles ends the wait after the total limit', () => {
  const meter = new PatienceMeter(limits, start);
  for (let second = 100; second < 1200; second += 100)
    assert.equal(meter.observe({ ...start, consoleLines: second, atSeconds: second }), undefined);
  assert.match(meter.observe({ ...start, consoleLines: 1200, atSeconds: 1200 }) ?? '', /not done after 1200 s/);
});
