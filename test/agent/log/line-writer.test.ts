import assert from 'node:assert/strict';
import { Writable } from 'node:stream';
import { test } from 'node:test';
import { createLineWriter, type LineWriterOptions } from '../../../agent/log/line-writer.ts';

/** A reader that reads what was written on request. */
class Reader extends Writable {
  text = '';
  writes = 0;
  #take: (() => void) | undefined;
  isPatient = false;

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.writes += 1;
    this.#take = () => {
      this.text += chunk.toString();
      done();
    };
    if (!this.isPatient) this.#takeOne();
  }

  /** Takes all, from now on too. */
  takeAll(): void {
    this.isPatient = false;
    this.#takeOne();
  }

  #takeOne(): void {
    const take = this.#take;
    this.#take = undefined;
    take?.();
  }
}

function makeWriter(options: Partial<LineWriterOptions> = {}) {
  const reader = new Reader({ highWaterMark: 100 });
  const lost: number[] = [];
  const settings = {
    highWaterMarkBytes: 1000,
    maxBufferedBytes: 10_000,
    onDropped: (count: number) => lost.push(count),
  };
  return { reader, lost, writer: createLineWriter(reader, { ...settings, ...options }) };
}

const line = `${'x'.repeat(99)}\n`;

test('lines that come in one turn of the event loop are one write', async () => {
  const { reader, writer } = makeWriter();
  for (const text of ['a\n', 'b\n', 'c\n']) writer.write(text);
  await writer[Symbol.asyncDispose]();
  assert.equal(reader.text, 'a\nb\nc\n');
  assert.equal(reader.writes, 2, 'the lines, and the question whether they have been taken');
});

test('no caller waits for a reader that keeps up', async () => {
  const { reader, writer } = makeWriter();
  for (let count = 0; count < 1000; count++) {
    writer.write(line);
    assert.equal(await writer.ready(), undefined);
  }
  await writer[Symbol.asyncDispose]();
  assert.equal(reader.text.length, 100_000);
});

test('callers wait for a slow reader until it has taken everything', async () => {
  const { reader, writer } = makeWriter();
  reader.isPatient = true;
  let isReady = false;
  for (let count = 0; count < 9; count++) {
    writer.write(line);
    assert.equal(writer.ready(), undefined, 'there is room');
  }
  writer.write(line);
  const ready = writer.ready();
  assert.ok(ready !== undefined);
  assert.equal(writer.ready(), ready, 'one wait for all');
  void ready.then(() => {
    isReady = true;
  });
  await new Promise(setImmediate);
  assert.equal(isReady, false);
  reader.takeAll();
  await ready;
  assert.equal(reader.text.length, 1000);
  assert.equal(writer.ready(), undefined);
});

test('callers wait once for a reader that takes nothing; lines that do not fit are dropped, and counted when it reads again', async () => {
  const { reader, writer, lost } = makeWriter({ readTimeoutSeconds: 0.01 });
  reader.isPatient = true;
  for (let count = 0; count < 20; count++) writer.write(line);
  await writer.ready();
  assert.equal(reader.text, '', 'it has taken nothing');
  for (let count = 0; count < 100; count++) {
    writer.write(line);
    assert.equal(writer.ready(), undefined, 'it is not waited for again');
  }
  assert.ok(reader.writableLength <= 10_000);
  assert.deepEqual(lost, []);
  const drained = new Promise((resolve) => reader.once('drain', resolve));
  reader.takeAll();
  await drained;
  assert.deepEqual(lost, [20]);
  assert.equal(reader.text.length, 10_000);
  reader.isPatient = true;
  for (let count = 0; count < 20; count++) writer.write(line);
  assert.ok(writer.ready() !== undefined, 'it is waited for as before');
  reader.takeAll();
});

for (const [how, leave] of [
  ['fails', (reader: Reader) => reader.destroy(new Error('EPIPE'))],
  ['is closed', (reader: Reader) => reader.destroy()],
] as const) {
  test(`a stream that ${how} ends all waits and takes nothing more`, async () => {
    const { reader, writer, lost } = makeWriter({ drainTimeoutSeconds: 3600 });
    reader.isPatient = true;
    for (let count = 0; count < 20; count++) writer.write(line);
    const ready = writer.ready();
    assert.ok(ready !== undefined);
    leave(reader);
    await ready;
    writer.write(line);
    assert.equal(writer.ready(), undefined);
    await writer[Symbol.asyncDispose]();
    assert.deepEqual(lost, []);
  });
}

test('disposing of it waits for a reader that reads, only for a limited time', async () => {
  const { reader, writer } = makeWriter({ drainTimeoutSeconds: 0.01 });
  reader.isPatient = true;
  writer.write('the last words\n');
  await writer[Symbol.asyncDispose]();
  assert.equal(reader.text, '');

  const { reader: slow, writer: other } = makeWriter({ drainTimeoutSeconds: 3600 });
  slow.isPatient = true;
  other.write('the last words\n');
  const closed = other[Symbol.asyncDispose]();
  await new Promise(setImmediate);
  slow.takeAll();
  await closed;
  assert.equal(slow.text, 'the last words\n');
});
