import { deepEqual } from 'node:assert/strict';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { lockFile } from '../../tools/file-lock.ts';

test('lockFile() waits for the end of the one that has the lock, and says so', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-lock-'));
  const path = join(directory.path, 'lock');
  const events: string[] = [];
  const first = await lockFile(path, () => events.push('first waits'));
  const waits = Promise.withResolvers<void>();
  const second = lockFile(path, () => {
    events.push('second waits');
    waits.resolve();
  }).then((lock) => {
    events.push('second has it');
    return lock;
  });
  await waits.promise;
  events.push('first ends');
  await first[Symbol.asyncDispose]();
  await (await second)[Symbol.asyncDispose]();
  deepEqual(events, ['second waits', 'first ends', 'second has it']);
});
