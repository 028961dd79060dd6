import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { demultiplex } from '../../../../agent/runtime/docker/frames.ts';

function frame(stream: 'stdout' | 'stderr', payload: string): Buffer {
  const content = Buffer.from(payload);
  const header = Buffer.from([stream === 'stdout' ? 1 : 2, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(content.length, 4);
  return Buffer.concat([header, content]);
}

function inChunks(bytes: Buffer, size: number): Buffer[] {
  return Array.from({ length: Math.ceil(bytes.length / size) }, (_, index) =>
    // Copies: payloads are moved within a chunk.
    Buffer.from(bytes.subarray(index * size, (index + 1) * size)),
  );
}

async function partsOf(chunks: readonly Buffer[]) {
  const parts: { readonly stream: string; readonly text: string }[] = [];
  for await (const { stream, bytes } of demultiplex(Readable.from(chunks)))
    parts.push({ stream, text: bytes.toString() });
  return parts;
}

test('demultiplex() separates the streams, wherever the chunks end', async () => {
  const bytes = Buffer.concat([
    frame('stdout', 'first\nsec'),
    frame('stderr', 'oops'),
    frame('stdout', ''),
    frame('stdout', 'ond\n'),
    frame('stderr', '!'),
  ]);
  for (let size = 1; size <= bytes.length; size++) {
    const parts = await partsOf(inChunks(bytes, size));
    const textOf = (wanted: string) => parts.flatMap(({ stream, text }) => (stream === wanted ? [text] : [])).join('');
    assert.deepEqual([textOf('stdout'), textOf('stderr')], ['first\nsecond\n', 'oops!'], `chunks of ${size} bytes`);
  }
});

test('demultiplex() makes one part of frames of a stream that follow each other in a chunk', async () => {
  const lines = Array.from({ length: 100 }, (_, index) => `line ${index}\n`);
  const chunk = Buffer.concat([
    ...lines.map((line) => frame('stdout', line)),
    frame('stderr', 'x'),
    frame('stderr', 'y'),
  ]);
  assert.deepEqual(await partsOf([chunk]), [
    { stream: 'stdout', text: lines.join('') },
    { stream: 'stderr', text: 'xy' },
  ]);
});

test('demultiplex() refuses a source of another format', async () => {
  await assert.rejects(
    partsOf([Buffer.from('HTTP/1.1 400 Bad Request')]),
    /a frame of the output has the unknown type/,
  );
});
