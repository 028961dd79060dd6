/** A section to add to a PE file. */
export interface Section {
  /** At most eight ASCII characters, as `.linux`. */
  readonly name: string;
  readonly content: Uint8Array;
  /**
   * Bytes of memory that the loader reserves, zeroes after the content. Default: those of the
   * content.
   */
  readonly memoryBytes?: number;
}

/** Offsets in the headers (Microsoft PE Format, "COFF File Header", "Optional Header"). */
const coffHeaderBytes = 24; // with the signature in front of it
const sectionHeaderBytes = 40;
const optionalHeader = {
  initializedDataBytes: 8,
  sectionAlignment: 32,
  fileAlignment: 36,
  imageBytes: 56,
  headersBytes: 60,
  checksum: 64,
};

/** Initialised data that can be read. */
const readOnlyData = 0x4000_0040;

/**
 * Adds sections behind those of a PE file, in memory and in the file. A signature of the file would
 * no longer be valid: sign the result.
 *
 * @throws {Error} it is no PE file, or its headers have no room for the sections
 */
export function addSections(file: Uint8Array, sections: readonly Section[]): Buffer {
  const headers = Buffer.from(file);
  const start = peHeaderOffset(headers);
  const optional = start + coffHeaderBytes;
  const read = (field: keyof typeof optionalHeader) => headers.readUInt32LE(optional + optionalHeader[field]);
  const existing = headers.readUInt16LE(start + 6);
  const table = optional + headers.readUInt16LE(start + 20);
  if (table + (existing + sections.length) * sectionHeaderBytes > read('headersBytes'))
    throw new Error(`the headers of the PE file have no room for ${sections.length} more sections`);

  const align = (value: number, field: 'sectionAlignment' | 'fileAlignment') => roundUp(value, read(field));
  const parts: Uint8Array[] = [headers, Buffer.alloc(align(headers.length, 'fileAlignment') - headers.length)];
  let offsetBytes = align(headers.length, 'fileAlignment');
  let address = align(read('imageBytes'), 'sectionAlignment');
  let addedBytes = 0;
  for (const [index, { name, content, memoryBytes = content.length }] of sections.entries()) {
    const paddedBytes = align(content.length, 'fileAlignment');
    const header = table + (existing + index) * sectionHeaderBytes;
    headers.fill(0, header, header + sectionHeaderBytes);
    headers.write(name, header, 8, 'ascii');
    headers.writeUInt32LE(Math.max(memoryBytes, content.length), header + 8);
    headers.writeUInt32LE(address, header + 12);
    headers.writeUInt32LE(paddedBytes, header + 16);
    headers.writeUInt32LE(offsetBytes, header + 20);
    headers.writeUInt32LE(readOnlyData, header + 36);
    parts.push(content, Buffer.alloc(paddedBytes - content.length));
    offsetBytes += paddedBytes;
    addedBytes += paddedBytes;
    address = align(address + Math.max(memoryBytes, content.length), 'sectionAlignment');
  }
  const write = (field: keyof typeof optionalHeader, value: number) =>
    headers.writeUInt32LE(value, optional + optionalHeader[field]);
  headers.writeUInt16LE(existing + sections.length, start + 6);
  write('initializedDataBytes', read('initializedDataBytes') + addedBytes);
  write('imageBytes', address);
  write('checksum', 0); // only drivers need one
  return Buffer.concat(parts);
}

/**
 * Bytes of memory that a loader reserves for a PE file.
 * @throws {Error} it is no PE file
 */
export function imageBytes(file: Uint8Array): number {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.byteLength);
  return bytes.readUInt32LE(peHeaderOffset(bytes) + coffHeaderBytes + optionalHeader.imageBytes);
}

function peHeaderOffset(file: Buffer): number {
  const offset = file.length < 64 || file.toString('latin1', 0, 2) !== 'MZ' ? -1 : file.readUInt32LE(60);
  if (offset < 0 || file.toString('latin1', offset, offset + 4) !== 'PE\0\0') throw new Error('not a PE file');
  return offset;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}
