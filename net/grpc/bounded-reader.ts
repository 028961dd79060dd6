import { BinaryReader } from '@bufbuild/protobuf/wire';

/** A message has more fields than the caller accepts. */
export class TooManyFieldsError extends Error {
  override readonly name = 'TooManyFieldsError';
}

/**
 * A reader of protobuf messages that stops at a number of fields, those of nested messages
 * included. Two bytes make an empty message of a list, and an object of some hundred bytes: the
 * size of a message bounds neither the time nor the memory that its decoding takes.
 *
 * Tags and lengths are counted, which the generated decoders read with `uint32()`.
 *
 * @throws {TooManyFieldsError} while it is read
 */
export class BoundedReader extends BinaryReader {
  constructor(bytes: Uint8Array, maxFields: number) {
    super(bytes);
    const read = this.uint32;
    let left = 2 * maxFields;
    this.uint32 = () => {
      if (left-- === 0) throw new TooManyFieldsError(`the message has more than ${maxFields} fields`);
      return read.call(this);
    };
  }
}
