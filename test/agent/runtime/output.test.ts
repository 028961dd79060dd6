import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import type { OutputChunk } from '../../../agent/runtime/engine.ts';
import { createOutputReader, type OutputLine } from '../../../agent/runtime/output.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

function chunk(stream: OutputChunk['stream'], payload: string | Buffer): OutputChunk {
  return { stream, bytes: Buffer.from(payload) };
}

/** The same bytes in chunks of at most a size. */
function* inChunks(chunks: readonly OutputChunk[], size: number): Generator<OutputChunk> {
  for (const { stream, bytes } of chunks)
    for (let offset = 0; offset < bytes.length; offset += size)
      yield { stream, bytes: bytes.subarray(offset, offset + size) };
}

async function linesOf(source: Iterable<OutputChunk>, maxLineBytes?: number) {
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

test('lines keep their stream, wherever the chunks end', async () => {
  const chunks = [
    chunk('stdout', 'first\nsec'),
    chunk('stderr', 'oops: ä€😀\n'),
    chunk('stdout', 'ond\n\nlast without end'),
  ];
  for (let size = 1; size <= 30; size++) {
    const { lines } = await linesOf(inChunks(chunks, size));
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
    const { lines } = await linesOf([chunk('stdout', `${'aä€😀'.repeat(20)}\nnext\n`)], limit);
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

test('bytes that are not UTF-8 are replaced', async () => {
  const { lines } = await linesOf([chunk('stdout', Buffer.from([0x80, 0x80, 0x80, 0x80, 0x80, 0xff, 0x41, 0x0a]))], 4);
  assert.match(lines.map(({ line }) => line).join(''), /^\ufffd+A$/);
});

test('the last state of a progress bar is a line', async () => {
  const { lines } = await linesOf([chunk('stderr', ' 10%\r 50%\r100%\r\ndone\r\n')]);
  assert.deepEqual(
    lines.map(({ line }) => line),
    ['100%', 'done'],
  );
});

test('a line continues over a change of the source', async () => {
  const lines: string[] = [];
  const reader = createOutputReader({ clock: new VirtualClock(), onLine: ({ line }) => void lines.push(line) });
  await reader.read(Readable.from([chunk('stdout', 'one line')]));
  await reader.read(Readable.from([chunk('stdout', ' in two parts\n')]));
  assert.deepEqual(lines, ['one line in two parts']);
});

test('a slow reader of the lines applies back-pressure to the source', async () => {
  let produced = 0;
  function* flood() {
    for (; produced < 1000; produced++) yield chunk('stdout', `${'x'.repeat(1000)}\n`);
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

test('the last lines are the last ones that are not empty, without control characters and cut', async () => {
  const text = [
    ...['1', '2', '3', '', '\u001b[31m4: red\u001b[0m', '5\ttab', '   ', `6${'x'.repeat(1000)}`, '7'],
    '',
  ].join('\n');
  const { lastLines } = await linesOf([chunk('stdout', text)]);
  assert.deepEqual(lastLines, ['3', '4: red', '5 tab', `6${'x'.repeat(298)}…`, '7']);
});

test('of lines that arrive together, those of standard error are last; later lines follow', async () => {
  const clock = new VirtualClock();
  const reader = createOutputReader({ clock, onLine: () => {} });
  const read = (...chunks: OutputChunk[]) => reader.read(Readable.from(chunks));
  await read(
    chunk('stderr', 'why\n'),
    chunk('stdout', 'one\n'),
    chunk('stderr', 'and why\n'),
    chunk('stdout', 'two\n'),
  );
  assert.deepEqual(reader.lastLines(), ['one', 'two', 'why', 'and why']);
  clock.advance(0.3);
  await read(chunk('stdout', 'later\n'));
  assert.deepEqual(reader.lastLines(), ['one', 'two', 'why', 'and why', 'later']);
});

test('a flood on one stream keeps the last lines of the other', async () => {
  const flood = Array.from({ length: 1000 }, (_, index) => chunk('stdout', `${index}\n`));
  const { lastLines } = await linesOf([chunk('stderr', 'why\n'), ...flood]);
  assert.deepEqual(lastLines, ['996', '997', '998', '999', 'why']);
});
