/** Where the code of a function starts, and the description of how to unwind its stack frame. */
interface Entry {
  readonly code: number;
  readonly description: number;
}

/**
 * `.eh_frame_hdr` as linkers write it: version 1, the frames' address relative to here, then a
 * sorted table relative to the header (LSB, "Exception Frame Header").
 */
const prefix = Buffer.from([1, 0x1b, 0x03, 0x3b]);
const HEADER_SIZE = 12;
const ENTRY_SIZE = 8;

/**
 * The address of the frames and the table of a header at `address`.
 * @throws {Error} it is of another kind
 */
export function readUnwindTable(bytes: Buffer, address: number): { frames: number; entries: Entry[] } {
  if (!bytes.subarray(0, prefix.length).equals(prefix)) throw new Error('the unwind table is of an unknown kind');
  const entries = Array.from({ length: bytes.readUInt32LE(8) }, (_, index) => {
    const at = HEADER_SIZE + index * ENTRY_SIZE;
    return { code: address + bytes.readInt32LE(at), description: address + bytes.readInt32LE(at + 4) };
  });
  return { frames: address + 4 + bytes.readInt32LE(4), entries };
}

export function unwindTableSize(entryCount: number): number {
  return HEADER_SIZE + entryCount * ENTRY_SIZE;
}

/**
 * A header for `address`. It may be that of several files together: the loader asks for one in each
 * file, and code is looked up in the table only.
 */
export function writeUnwindTable(frames: number, entries: readonly Entry[], address: number): Buffer {
  const bytes = Buffer.alloc(unwindTableSize(entries.length));
  prefix.copy(bytes);
  bytes.writeInt32LE(frames - address - 4, 4);
  bytes.writeUInt32LE(entries.length, 8);
  for (const [index, { code, description }] of entries.toSorted((a, b) => a.code - b.code).entries()) {
    bytes.writeInt32LE(code - address, HEADER_SIZE + index * ENTRY_SIZE);
    bytes.writeInt32LE(description - address, HEADER_SIZE + index * ENTRY_SIZE + 4);
  }
  return bytes;
}
