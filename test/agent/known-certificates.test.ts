import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
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

test('knownCertificates() follows no link that another user has placed, neither to read nor to write', async (t) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-known-'));
  t.after(() => rm(directory, { recursive: true }));
  const known = knownCertificates(directory, 'server:42113');
  const theirs = join(directory, 'theirs');
  await writeFile(theirs, 'a certificate of theirs');
  await mkdir(dirname(known.place));
  await symlink(theirs, known.place);
  await assert.rejects(known.read(), /is a symbolic link/);
  await symlink(theirs, `${known.place}.unfinished`);
  await known.write('ours');
  assert.deepEqual([await known.read(), await readFile(theirs, 'utf8')], ['ours', 'a certificate of theirs']);
});
