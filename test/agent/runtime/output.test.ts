import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { createOutputReader, type OutputLine } from '../../../agent/runtime/output.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

function frame(stream: 'stdout' | 'stderr', payload: string | Buffer): Buffer {
  const content = Buffer.from(payload);
  const header = Buffer.from([stream === 'stdout' ? 1 : 2, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(content.length, 4);
  return Buffer.concat([header, content]);
}

function chunks(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    bytes.subarray(index * size, (index + 1) * size),
  );
}

async function linesOf(source: Iterable<Buffer>, maxLineBytes?: number) {
  const lines: OutputLine[] = [];
  const reader = createOutputReader({
    clock: new VirtualClock(),
    onLine: (line) => void lines.push(line),
    ...(maxLineBytes !== undefined && { maxLineBytes }),
  });
  await reader.read(Readable.from(source));
  await reader.end();
  return { lines, lastLines: reader.lastLines() };
}

test('output is told apart by stream, wherever the chunks end', async () => {
  const bytes = Buffer.concat([
    frame('stdout', 'first\nsec'),
    frame('stderr', 'oops: ä€😀\n'),
    frame('stdout', 'ond\n\nlast without end'),
  ]);
  for (let size = 1; size <= bytes.length; size++) {
    const { lines } = await linesOf(chunks(bytes, size));
    assert.deepEqual(
      lines.filter(({ stream }) => stream === 'stdout').map(({ line }) => line),
      ['first', 'second', '', 'last without end'],
    );
    assert.deepEqual(
      lines.filter(({ stream }) => stream === 'stderr').map(({ line }) => line),
      ['oops: ä€😀'],
    );
  }
});

test('a line over the limit comes in pieces, cut between characters', async () => {
  for (let limit = 4; limit < 12; limit++) {
    const { lines } = await linesOf([frame('stdout', `${'aä€😀'.repeat(20)}\nnext\n`)], limit);
    const next = lines.pop();
    assert.deepEqual(next, { stream: 'stdout', line: 'next', continues: false });
    assert.equal(lines.map(({ line }) => line).join(''), 'aä€😀'.repeat(20));
    assert.ok(lines.every(({ line }) => Buffer.byteLength(line) <= limit));
    assert.deepEqual(
      lines.map(({ continues }) => continues),
      lines.map((_, index) => index < lines.length - 1),
    );
  }
});

test('bytes that are no UTF-8 do no harm', async () => {
  const { lines } = await linesOf([frame('stdout', Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0xff, 0x41, 0x0a]))], 4);
  assert.match(lines.map(({ line }) => line).join(''), /^\ufffd+A$/);
});

test('of a progress bar its last state is kept', async () => {
  const { lines } = await linesOf([frame('stderr', ' 10%\r 50%\r100%\r\ndone\r\n')]);
  assert.deepEqual(
    lines.map(({ line }) => line),
    ['100%', 'done'],
  );
});

test('a source that has not the format of the engine is refused', async () => {
  await assert.rejects(linesOf([Buffer.from('HTTP/1.1 400 Bad Request')]), /unknown type/);
});

test('a line that began before the source changed is put together', async () => {
  const lines: string[] = [];
  const reader = createOutputReader({ clock: new VirtualClock(), onLine: ({ line }) => void lines.push(line) });
  await reader.read(Readable.from([frame('stdout', 'one line')]));
  await reader.read(Readable.from([frame('stdout', ' in two parts\n')]));
  assert.deepEqual(lines, ['one line in two parts']);
});

test('the source waits for whoever takes the lines', async () => {
  let produced = 0;
  function* flood() {
    for (; produced < 1000; produced++) yield frame('stdout', `${'x'.repeat(1000)}\n`);
  }
  const taken = Promise.withResolvers<void>();
  const reader = createOutputReader({ clock: new VirtualClock(), onLine: () => taken.promise });
  const reading = reader.read(Readable.from(flood(), { highWaterMark: 4 }));
  await new Promise((resolve) => setImmediate(resolve));
  assert.ok(produced < 10, `${produced} were read ahead`);
  taken.resolve();
  await reading;
  assert.equal(produced, 1000);
});

test('the last lines are the last ones that say something, fit for a message', async () => {
  const text = [
    ...['1', '2', '3', '', '\u001b[31m4: red\u001b[0m', '5\ttab', '   ', `6${'x'.repeat(1000)}`, '7'],
    '',
  ].join('\n');
  const { lastLines } = await linesOf([frame('stdout', text)]);
  assert.deepEqual(lastLines, ['3', '4: red', '5 tab', `6${'x'.repeat(298)}…`, '7']);
});

test('of lines of both streams that arrive together, those of standard error are last; later ones come later', async () => {
  const clock = new VirtualClock();
  const reader = createOutputReader({ clock, onLine: () => {} });
  const read = (...frames: Buffer[]) => reader.read(Readable.from(frames));
  await read(
    frame('stderr', 'why\n'),
    frame('stdout', 'one\n'),
    frame('stderr', 'and why\n'),
    frame('stdout', 'two\n'),
  );
  assert.deepEqual(reader.lastLines(), ['one', 'two', 'why', 'and why']);
  clock.advance(0.3);
  await read(frame('stdout', 'later\n'));
  assert.deepEqual(reader.lastLines(), ['one', 'two', 'why', 'and why', 'later']);
});

test('a flood on one stream does not push out what the other one said last', async () => {
  const flood = Array.from({ length: 1000 }, (_, index) => frame('stdout', `${index}\n`));
  const { lastLines } = await linesOf([frame('stderr', 'why\n'), ...flood]);
  assert.deepEqual(lastLines, ['996', '997', '998', '999', 'why']);
});
