import type { ElfImage, Section } from '../elf/image.ts';
import { readUnwindTable, writeUnwindTable } from '../elf/unwind-table.ts';

/**
 * Empties the descriptions of how to unwind the stack (`.eh_frame`, LSB, "Exception Frames") and
 * the table of them. Node is compiled without C++ exceptions: of its 102,522 functions (version
 * 24.21) only 236 of the C++ library's templates have code for them. One that is thrown ends the
 * process, as with the tables.
 * @param file the bytes of `image`; it is changed
 * @throws {Error} the program has no such sections
 */
export function emptyUnwindTables(file: Buffer, image: ElfImage): void {
  const [table, frames] = ['.eh_frame_hdr', '.eh_frame'].map((name) => sectionOf(image, name));
  if (table === undefined || frames === undefined) throw new Error('the program has no unwind tables');
  const header = bytesOf(file, image, table);
  const { frames: address } = readUnwindTable(header, table.address);
  header.fill(0);
  writeUnwindTable(address, [], table.address).copy(header);
  bytesOf(file, image, frames).fill(0); // begins with the mark of the end
}

function sectionOf(image: ElfImage, name: string): Section | undefined {
  return image.sections.find((section) => section.name === name);
}

function bytesOf(file: Buffer, { loads }: ElfImage, { name, address, sizeBytes }: Section): Buffer {
  const load = loads.find((one) => one.address <= address && address + sizeBytes <= one.address + one.fileSizeBytes);
  if (load === undefined) throw new Error(`section ${name} is in no segment`);
  const start = address - load.address + load.fileOffset;
  return file.subarray(start, start + sizeBytes);
}
