import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DecompressError } from '../../installer/decompress/error.ts';
import { IncompleteWriteError } from '../../installer/disk/errors.ts';
import { InstallError, UntrustedError } from '../../installer/errors.ts';
import { FileChangedError, NotFoundError } from '../../installer/fetch/errors.ts';
import type { Report } from '../../installer/progress.ts';
import { withGoodUrl } from '../../installer/restart.ts';

const [first, second] = [new URL('http://a/image'), new URL('http://b/image')];
const untrusted = new UntrustedError({ what: 'verify', target: 'image', why: 'it is not a valid signature' });
const damaged = new DecompressError('it is damaged', { offsetBytes: 0 });
const missing = new InstallError({ what: 'download', target: 'image', why: '404', cause: new NotFoundError('404') });
const isLeft = (cause: unknown, tableRemoved: boolean) =>
  new IncompleteWriteError({ what: 'install to', target: '/dev/sda', why: 'it failed', cause }, tableRemoved);

/** Runs attempts that fail so, one after the other, on two mirrors; the next one succeeds. */
async function run(failures: readonly unknown[], urls: readonly URL[] = [first, second]) {
  const rest = [...failures];
  const asked: string[] = [];
  const warnings: string[] = [];
  const report: Report = {
    ...{ phase() {}, note() {}, detail() {}, transferred() {} },
    warn: (message) => void warnings.push(message),
  };
  const result = await withGoodUrl(urls, report, async (given) => {
    asked.push(given.map(({ host }) => host).join(' '));
    if (rest.length > 0) throw rest.shift();
    return 'installed';
  }).catch((error: unknown) => error);
  return { result, asked, warnings };
}

test('withGoodUrl() starts over with the server that has another file now, and not more than three times', async () => {
  const changed = isLeft(new FileChangedError('the file changed', second), true);
  const once = await run([changed]);
  assert.equal(once.result, 'installed');
  assert.deepEqual(once.asked, ['a b', 'b a']);
  assert.deepEqual(once.warnings, ['http://b/image: the file changed; starting over']);
  const always = await run(Array(9).fill(changed));
  assert.equal(always.result, changed);
  assert.deepEqual(always.asked, ['a b', 'b a', 'b a', 'b a']);
});

test('withGoodUrl() asks each server alone after one sent no good image, and names the faults of all', async () => {
  const good = await run([isLeft(untrusted, true)]);
  assert.equal(good.result, 'installed');
  assert.deepEqual(good.asked, ['a b', 'b']);
  const none = await run([untrusted, missing]);
  assert.match(
    String(none.result),
    /cannot get a good image from any mirror: http:\/\/a\/image: .*; http:\/\/b\/image: /,
  );
  const twice = await run([damaged], [first, first]);
  assert.equal(twice.result, damaged, 'it has no other server');
});

test('withGoodUrl() does not go on with a disk that cannot be cleared', async () => {
  for (const cause of [damaged, new FileChangedError('the file changed', second)]) {
    const stuck = isLeft(cause, false);
    const { result, asked } = await run([stuck]);
    assert.equal(result, stuck);
    assert.equal(asked.length, 1);
  }
  const later = await run([isLeft(damaged, true), isLeft(damaged, false)]);
  assert.ok(later.result instanceof IncompleteWriteError && !later.result.tableRemoved);
});

test('withGoodUrl() passes on what another server cannot change', async () => {
  const broken = isLeft(new Error('i/o error'), true);
  assert.equal((await run([broken])).result, broken);
  assert.equal((await run([damaged, broken])).result, broken);
  const reason = new Error('the signal was aborted');
  assert.equal((await run([damaged, reason])).result, reason);
});
