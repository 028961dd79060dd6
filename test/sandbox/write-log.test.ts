import assert from 'node:assert/strict';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { type LoggedWrite, readWriteLog, replay } from './write-log.ts';
import { orderOf } from './write-order.ts';

const mebibyte = 1024 * 1024;
const diskBytes = 8 * mebibyte;

interface Logged extends AsyncDisposable {
  readonly entries: readonly LoggedWrite[];
  /** What the commands made of the disk. */
  readonly disk: string;
}

/** Of a new disk after commands of qemu-io. */
async function logOf(...commands: readonly string[]): Promise<Logged> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-write-log-'));
  const [disk, log] = [join(directory, 'disk'), join(directory, 'log')];
  await execa('truncate', ['--size', String(diskBytes), disk]);
  await writeFile(log, '');
  const options = [
    'driver=blklogwrites,log-super-update-interval=1',
    `file.driver=raw,file.file.driver=file,file.file.filename=${disk},log.driver=file,log.filename=${log}`,
  ].join(',');
  await execa('qemu-io', ['--image-opts', options, ...commands.flatMap((command) => ['-c', command])]);
  return {
    entries: await readWriteLog(log),
    disk,
    [Symbol.asyncDispose]: () => rm(directory, { recursive: true }),
  };
}

const clear = ['write -z 0 1M', 'write -z 7M 1M', 'flush'];

test('readWriteLog() gives what reached the disk, and replay() makes the same disk of it', async () => {
  await using logged = await logOf('write -P 1 1M 64k', 'write -z 2M 1M', 'flush', 'write -P 2 0 4k');
  const [one, zeroes, flush, two] = logged.entries;
  assert.deepEqual(one, { kind: 'write', offsetBytes: mebibyte, bytes: Buffer.alloc(65536, 1) });
  assert.deepEqual(zeroes, { kind: 'write', offsetBytes: 2 * mebibyte, bytes: Buffer.alloc(mebibyte) });
  assert.deepEqual(flush, { kind: 'flush' });
  assert.deepEqual(two, { kind: 'write', offsetBytes: 0, bytes: Buffer.alloc(4096, 2) });
  const copy = `${logged.disk}.copy`;
  await using file = await open(copy, 'w+');
  await file.truncate(diskBytes);
  await replay(logged.entries, file);
  assert.ok((await readFile(copy)).equals(await readFile(logged.disk)));
});

const orders: readonly (readonly [expected: string, ...commands: string[]])[] = [
  ['the table last', ...clear, 'write -P 1 1M 1M', 'flush', 'write -P 2 7M 1M', 'flush', 'write -P 3 0 1M', 'flush'],
  ['the table last', ...clear, 'write -P 1 1M 1M', 'flush', 'write -P 3 4k 1020k', 'flush', 'write -P 3 0 4k', 'flush'],
  ['not the clearing of the ends first', 'write -P 1 1M 1M', ...clear, 'flush', 'write -P 3 0 1M', 'flush'],
  ['not the clearing of the ends first', 'write -z 0 1M', 'write -P 1 1M 1M', 'flush', 'write -P 3 0 1M', 'flush'],
  ['the old table is not cleared first', 'write -z 7M 1M', 'flush', 'write -P 3 0 1M', 'flush'],
  [
    'the first sector is not the last',
    ...[...clear, 'write -P 3 0 1M', 'flush', 'write -P 1 1M 1M', 'flush', 'write -P 3 0 1M', 'flush'],
  ],
  ['data with the table', ...clear, 'write -P 1 1M 1M', 'flush', 'write -P 1 2M 1M', 'write -P 3 0 1M', 'flush'],
  ['nothing but the table', ...clear, 'write -P 3 0 1M', 'flush'],
];
for (const [expected, ...commands] of orders) {
  test(`orderOf() says "${expected}": ${commands.join(', ')}`, async () => {
    await using logged = await logOf(...commands);
    assert.equal(orderOf(logged.entries, diskBytes), expected);
  });
}
