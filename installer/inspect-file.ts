import { open } from 'node:fs/promises';
import { formatOf, magicBytes } from './decompress/format.ts';
import type { Inspection } from './disk/write.ts';
import { canReadTwice } from './image-file.ts';

/**
 * Looks into an image file before it is installed, if it is not compressed: then every place of it
 * can be read at once. What a pipe has can be read only once.
 * @throws what the inspections throw; {Error} of the system: the file cannot be read
 */
export async function inspectFile(path: string, inspections: readonly Inspection[]): Promise<void> {
  if (inspections.length === 0 || !(await canReadTwice(path))) return;
  await using file = await open(path);
  const { buffer: beginning } = await file.read(Buffer.alloc(magicBytes), 0, magicBytes, 0);
  if (formatOf(beginning) !== 'raw') return;
  for (const { offsetBytes, lengthBytes, inspect } of inspections) {
    const { buffer } = await file.read(Buffer.alloc(lengthBytes), 0, lengthBytes, offsetBytes);
    inspect(buffer);
  }
}
