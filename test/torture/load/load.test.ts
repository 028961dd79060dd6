/**
 * The load, shortened: `make torture SECTION=load` runs all of it. And what it would not be worth
 * anything without: herds, lost and doubled reports, and changed output are found.
 */
import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { type Flood, FloodLog } from './flood-log.ts';
import { linesOf } from './lines.ts';
import { outputOf } from './output.ts';
import { expectedReports, reportsViolation } from './reports.ts';
import { returnOf, spreadOf } from './requests.ts';
import { measureSpread } from './spread.ts';
import { runWorkers } from './workers.ts';

const few = { workers: 30, seed: 1, outagesSeconds: [60], actions: 2 };

test('workers that lost their server come back one by one, and no report is lost or doubled', async () => {
  const { phases, reports, violations } = await measureSpread(few);
  assert.deepEqual(violations, []);
  assert.equal(reports, 30 * 2 * 2);
  assert.equal(phases.find(({ back }) => back !== undefined)?.back?.workers, 30);
});

test('workers whose waits are not spread are found to be a herd', async () => {
  const { violations } = await measureSpread({ ...few, random: () => 0.5 });
  assert.deepEqual(violations, ['back after 60 s: a herd: 30 requests in a second, 30 workers in a tenth of one']);
});

test('no report of many workers is lost or doubled when the server restarts amid their actions', async () => {
  const { violations, reports } = await runWorkers({ workers: 20, actions: 3, awaySeconds: 0.2, pollSeconds: 0.2 });
  assert.deepEqual(violations, []);
  assert.equal(reports, 20 * 3 * 2);
});

test('spreadOf() counts the requests of a span and of its busiest second', () => {
  const requests = [0, 1, 1.5, 1.9, 2.4, 3].map((atSeconds) => ({ atSeconds, worker: 'one' }));
  assert.deepEqual(spreadOf(requests, 1, 3), { seconds: 2, requests: 4, mean: 2, max: 3 });
});

test('returnOf() counts the first request of each worker', () => {
  const requests = [
    ...[9, 10.25, 10.5].map((atSeconds) => ({ atSeconds, worker: 'one' })),
    ...[10.3, 12].map((atSeconds) => ({ atSeconds, worker: 'two' })),
    { atSeconds: 14, worker: 'three' },
  ];
  assert.deepEqual(returnOf(requests, 10), { workers: 3, inSecond: 2, inTenth: 2, lastSeconds: 4 });
});

test('reportsViolation() finds a report that is lost, doubled, changed or one too many', () => {
  const names = ['one', 'two'];
  const right = expectedReports(names).map((text) => {
    const [actionName = '', progress = ''] = text.split(' ');
    return { actionName, progress };
  });
  const [start, end, ...rest] = right as [(typeof right)[0], (typeof right)[0], ...typeof right];
  assert.equal(reportsViolation(right, names), undefined);
  assert.equal(reportsViolation(right.slice(0, 3), names), 'report 4 is missing, and not two SUCCESS');
  assert.equal(reportsViolation([start, start, end, ...rest], names), 'report 2 is one RUNNING, and not one SUCCESS');
  assert.equal(reportsViolation([...right, end], names), 'report 5 is one SUCCESS, and not the end');
});

/** The log of an agent whose action prints these lines. */
async function violationsOf(flood: Flood, lines: readonly string[]): Promise<readonly string[]> {
  const log = new FloodLog(flood);
  const own = ['12:00:00 INFO  [loud] action: container started', '12:00:00 INFO  idle: nothing'];
  const text = [...own, ...lines.map((line) => `12:00:00 INFO  [loud] ${line}`), ''].join('\n');
  // Chunks that end anywhere.
  const chunks = text.match(/[\s\S]{1,1000}/g) ?? [];
  await log.read(Readable.from(chunks.map((chunk) => Buffer.from(chunk))));
  return log.violations();
}

test('FloodLog finds a line that is lost, doubled or out of order', async () => {
  const lines = Array.from({ length: 10 }, (_, index) => `${String(index + 1).padStart(2, '0')} ${'x'.repeat(196)}`);
  assert.deepEqual(await violationsOf(outputOf(2000), lines), []);
  for (const changed of [
    lines.toSpliced(3, 1),
    lines.toSpliced(3, 0, lines[3] ?? ''),
    lines.with(3, lines[4] ?? '').with(4, lines[3] ?? ''),
    lines.with(3, 'y'),
  ])
    assert.match((await violationsOf(outputOf(2000), changed)).join(), /lines are not those expected/);
  assert.deepEqual(await violationsOf(outputOf(2000), lines.slice(0, 9)), ['1791 bytes of 1990 have arrived']);
});

test('FloodLog finds a part of a long line that is lost, cut or in another line', async () => {
  const parts = ['1', '2', '3', '4'].flatMap((digit) => [digit.repeat(16_384), digit.repeat(100)]);
  assert.deepEqual(await violationsOf(linesOf(16_484), parts), []);
  for (const changed of [
    parts.toSpliced(0, 1),
    parts.with(0, '1'.repeat(16_383)),
    parts.with(1, '2'.repeat(16_384)).with(2, '1'.repeat(100)),
  ])
    assert.notDeepEqual(await violationsOf(linesOf(16_484), changed), []);
});
