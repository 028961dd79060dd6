import { Duplex } from 'node:stream';

/** A connection on which a peer sends these bytes, in pieces, and then ends it. */
export function connectionOf(input: Buffer): Duplex {
  let offset = 0;
  return new Duplex({
    read() {
      const piece = input.subarray(offset, offset + 1 + (input.length % 1021));
      offset += piece.length;
      this.push(piece.length === 0 ? null : piece);
    },
    write: (_chunk, _encoding, done) => done(),
  });
}
