import assert from 'node:assert/strict';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { knownCertificates } from '../../agent/known-certificates.ts';

test('knownCertificates() keeps the certificates of each server across restarts', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-known-'));
  t.after(() => rm(directory, { recursive: true }));
  const one = knownCertificates(directory, '[fd00::1]:42113');
  assert.equal(await one.read(), undefined);
  await one.write('first');
  await one.write('second');
  assert.equal(await knownCertificates(directory, '[fd00::1]:42113').read(), 'second');
  assert.equal(await knownCertificates(directory, '../../etc:1').read(), undefined);
  assert.ok(knownCertificates(directory, '../../etc:1').place.startsWith(`${directory}/certificates/`));
});
