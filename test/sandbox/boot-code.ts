import { open } from 'node:fs/promises';

/**
 * Code for the first sector of a disk (8086, at most 440 bytes): prints a line on the first serial
 * port, and stops. A BIOS runs it if the sector has its signature.
 * @param line of at most 25 characters of ASCII
 */
export function bootCodePrinting(line: string): Uint8Array {
  const bytes = [...Buffer.from(`\r\n${line}\r\n`, 'latin1')].flatMap((character) => [
    ...[0xba, 0xfd, 0x03], // mov dx, 0x3fd: the line status
    ...[0xec, 0xa8, 0x20, 0x74, 0xfb], // in al, dx; test al, 0x20; jz to the `in`: until it takes a byte
    ...[0xba, 0xf8, 0x03], // mov dx, 0x3f8
    ...[0xb0, character, 0xee], // mov al, character; out dx, al
  ]);
  return Uint8Array.from([...bytes, 0xfa, 0xf4, 0xeb, 0xfd]); // cli; hlt; jmp to the hlt
}

/** Puts code before the partition table of a disk or image that has one. */
export async function writeBootCode(path: string, code: Uint8Array): Promise<void> {
  if (code.length > 440) throw new RangeError(`the first sector has no room for ${code.length} bytes of code`);
  await using file = await open(path, 'r+');
  await file.write(code, 0, code.length, 0);
}
