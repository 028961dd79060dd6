/**
 * The matrix of faults around the agent, shortened: `make torture SECTION=agent-faults` runs all of
 * it. A fault on each leg, and a clock that jumps.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import '../sandbox/force-exit.ts';
import { cells, nameOf, runCells } from './agent-faults.ts';

const short = [
  'server/reset/v0.1',
  'server/truncated/v0.7',
  'server/garbage/v0.9',
  'engine/stall/v0.2',
  'registry/truncated/v0.1',
  'machine/clock - 1 day/current',
];

test('an agent ends its workflow once, with the right states, after a fault on each leg', async (test) => {
  const chosen = cells().filter((cell) => short.includes(nameOf(cell)));
  assert.deepEqual(chosen.map(nameOf).sort(), short.toSorted());
  for (const { cell, seconds, violations } of await runCells(chosen, 1)) {
    test.diagnostic(`${nameOf(cell)}: ${seconds.toFixed(0)} s`);
    assert.deepEqual(violations, [], nameOf(cell));
  }
});
