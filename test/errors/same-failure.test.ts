import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isSameFailure } from '../../errors/same-failure.ts';

const same = [
  ['Failed to connect (2026-11-28T18:48:44.040Z)', 'Failed to connect (2026-11-28T18:48:49.984Z)'],
  ['at 2026-11-28 18:48:44.1 +0000 UTC: no', 'at 2026-11-28 18:48:45.77 +0000 UTC: no'],
  ['Deadline exceeded after 4.025s,name resolution: 0.001s', 'Deadline exceeded after 4.001s,name resolution: 0.004s'],
  ['read tcp 10.0.0.1:54321->10.0.0.2:443: reset', 'read tcp 10.0.0.1:54329->10.0.0.2:443: reset'],
  ['read tcp [fd00::1]:54321->[fd00::2]:443: reset', 'read tcp [fd00::1]:54329->[fd00::2]:443: reset'],
  ['40CD43A3CC7F0000:error:0A00010B:SSL', '40CD43A3CD7F0000:error:0A00010B:SSL'],
  ['request 1f0c62f6-21c1-4f4e-9d25-0e3b5a6a2f11 failed', 'request 6a0c62f6-21c1-4f4e-9d25-0e3b5a6a2f19 failed'],
  ['lock at 0xc000123456', 'lock at 0xc0009abcde'],
] as const;
for (const [one, other] of same)
  test(`isSameFailure() takes "${one}" for the same at another attempt`, () => {
    assert.ok(isSameFailure(one, other));
  });

const different = [
  ['HTTP status 404', 'HTTP status 500'],
  ['connect ECONNREFUSED 10.0.0.1:42113', 'connect ECONNREFUSED 10.0.0.2:42113'],
  ['connect ECONNREFUSED 10.0.0.1:42113', 'connect ECONNREFUSED 10.0.0.1:42114'],
  ['UNAVAILABLE: the server is away', 'UNAVAILABLE: the server has no store'],
  ['acknowledged', undefined],
] as const;
for (const [one, other] of different)
  test(`isSameFailure() tells "${one}" from "${other}"`, () => {
    assert.ok(!isSameFailure(one, other));
  });
