import { deepEqual, rejects } from 'node:assert/strict';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { lockFile } from '../../tools/file-lock.ts';

test('lockFile() waits until the lock is released, and reports that it waits', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-lock-'));
  const path = join(directory.path, 'lock');
  const events: string[] = [];
  const first = await lockFile(path, { onWait: () => events.push('first waits') });
  const waits = Promise.withResolvers<void>();
  const onWait = () => {
    events.push('second waits');
    waits.resolve();
  };
  const second = lockFile(path, { onWait }).then((lock) => {
    events.push('second has it');
    return lock;
  });
  await waits.promise;
  events.push('first ends');
  await first[Symbol.asyncDispose]();
  await (await second)[Symbol.asyncDispose]();
  deepEqual(events, ['second waits', 'first ends', 'second has it']);
});

test('lockFile() ends its wait when its signal is aborted; the lock stays held', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-lock-'));
  const path = join(directory.path, 'lock');
  const first = await lockFile(path);
  const controller = new AbortController();
  const reason = new Error('not wanted any more');
  await rejects(
    lockFile(path, { onWait: () => setImmediate(() => controller.abort(reason)), signal: controller.signal }),
    reason,
  );
  const events: string[] = [];
  const waits = Promise.withResolvers<void>();
  const onWait = () => {
    events.push('third waits');
    waits.resolve();
  };
  const third = lockFile(path, { onWait });
  await waits.promise;
  await first[Symbol.asyncDispose]();
  await (await third)[Symbol.asyncDispose]();
  deepEqual(events, ['third waits']);
});
