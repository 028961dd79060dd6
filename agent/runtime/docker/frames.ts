import type { OutputChunk } from '../engine.ts';

const headerBytes = 8;

/**
 * Separates the two output streams of a container (engine API, "Attach to a container", "Stream
 * format").
 * @throws what the source throws; an error if it does not have this format
 */
export async function* demultiplex(source: AsyncIterable<Buffer>): AsyncGenerator<OutputChunk, void, undefined> {
  const reader = new FrameReader();
  for await (const chunk of source) for (const part of reader.read(chunk)) yield part;
}

/**
 * A frame is [type, 0, 0, 0, length as 4 bytes, big endian] and the payload. Chunks end anywhere.
 */
class FrameReader {
  readonly #header = Buffer.alloc(headerBytes);
  #readHeaderBytes = 0;
  #stream: OutputChunk['stream'] = 'stdout';
  #payloadBytes = 0;

  /**
   * Payload in a chunk. Frames of the same stream that follow each other become one part: there may
   * be a frame for each line. For that, payloads are moved within the chunk, which is not used any
   * more afterwards.
   */
  read(chunk: Buffer): OutputChunk[] {
    const parts: { readonly stream: OutputChunk['stream']; readonly start: number; end: number }[] = [];
    for (let offset = 0; offset < chunk.length; ) {
      if (this.#payloadBytes === 0) {
        offset += this.#readHeader(chunk, offset);
        continue;
      }
      const end = Math.min(chunk.length, offset + this.#payloadBytes);
      this.#payloadBytes -= end - offset;
      const last = parts.at(-1);
      if (last?.stream === this.#stream) {
        chunk.copyWithin(last.end, offset, end);
        last.end += end - offset;
      } else {
        parts.push({ stream: this.#stream, start: offset, end });
      }
      offset = end;
    }
    return parts.map(({ stream, start, end }) => ({ stream, bytes: chunk.subarray(start, end) }));
  }

  #readHeader(chunk: Buffer, offset: number): number {
    const copied = chunk.copy(
      this.#header,
      this.#readHeaderBytes,
      offset,
      offset + headerBytes - this.#readHeaderBytes,
    );
    this.#readHeaderBytes += copied;
    if (this.#readHeaderBytes === headerBytes) {
      const type = this.#header.readUInt32LE(0);
      if (type > 3) throw new Error(`a frame of the output has the unknown type ${type}`);
      // 1 is standard output; 2 standard error; 3 an error of the engine itself about this stream.
      this.#stream = type >= 2 ? 'stderr' : 'stdout';
      this.#payloadBytes = this.#header.readUInt32BE(4);
      this.#readHeaderBytes = 0;
    }
    return copied;
  }
}
