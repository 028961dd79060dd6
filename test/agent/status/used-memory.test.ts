import assert from 'node:assert/strict';
import { totalmem } from 'node:os';
import { test } from 'node:test';
import { usedMemoryBytes, usedMemoryIn } from '../../../agent/status/used-memory.ts';

test('usedMemoryBytes() is more than this process has, and less than all', async () => {
  const used = await usedMemoryBytes();
  assert.ok(used !== undefined && used > 10 * 1024 ** 2 && used < totalmem(), `${used} bytes of ${totalmem()}`);
});

const memory = 'MemTotal:        2000000 kB\nMemFree:          300000 kB\nMemAvailable:    1600000 kB\n';

test('free pages that are kept ready for a processor are not used', () => {
  // Two zones of 200,000 and 300,000 pages of 4 KiB; 25,000 of them are kept ready.
  const zone = (name: string, managed: number, counts: readonly number[]) =>
    `Node 0, zone ${name}\n  pages free     1\n        managed  ${managed}\n  pagesets\n` +
    counts
      .map((count, cpu) => `    cpu: ${cpu}\n              count:    ${count}\n              high:     9\n`)
      .join('');
  const zones = zone('DMA32', 200_000, [20_000, 1000]) + zone('Normal', 300_000, [0, 4000]);
  assert.equal(usedMemoryIn(memory, zones), (400_000 - 100_000) * 1024);
});

test('without /proc/zoneinfo it is MemTotal less MemAvailable', () => {
  assert.equal(usedMemoryIn(memory, ''), 400_000 * 1024);
});
