import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DownloadTotals } from '../../../agent/runtime/download-totals.ts';
import type { PullProgress } from '../../../agent/runtime/engine.ts';

function sumOf(...steps: readonly PullProgress[]) {
  const totals = new DownloadTotals();
  for (const step of steps) totals.add(step);
  return totals.sum();
}

test('the layers whose size is known are added up, and one that is downloaded counts in full', () => {
  assert.deepEqual(
    sumOf(
      { phase: 'downloading', layer: 'a', doneBytes: 10, totalBytes: 100 },
      { phase: 'downloading', layer: 'b', doneBytes: 20, totalBytes: 50 },
      { phase: 'unpacking', layer: 'b' },
      { phase: 'downloaded', layer: 'b' },
      { phase: 'present', layer: 'c' },
    ),
    { doneBytes: 60, totalBytes: 150 },
  );
});

test('without a known size there is no progress, which would be a share of nothing', () => {
  assert.equal(sumOf(), undefined);
  assert.equal(sumOf({ phase: 'downloaded', layer: 'a' }), undefined);
  assert.equal(sumOf({ phase: 'downloading', layer: 'a', doneBytes: 0, totalBytes: 0 }), undefined);
});

test('more bytes than the size that was named raise the size', () => {
  const more = { phase: 'downloading', layer: 'a', doneBytes: 30, totalBytes: 20 } as const;
  assert.deepEqual(sumOf(more), { doneBytes: 30, totalBytes: 30 });
});
