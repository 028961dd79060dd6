// Memory layout: input, then the window with the output after it.

/** How far a match reaches back (RFC 1951, section 2). */
export const windowBytes: u32 = 32768;
export const maxLength: u32 = 258;
export const inputBytes: u32 = 256 * 1024;
export const outputBytes: u32 = 512 * 1024;
/** Read and written beyond the end of a buffer. The header of a block has up to 570 bytes. */
export const slack: u32 = 1024;

export const input: usize = (__heap_base + 4095) & ~4095;
const window: usize = input + inputBytes + slack;
/** Where output begins that has no history. */
export const output: usize = window + windowBytes;
/** A match that begins before it fits. */
export const outputEnd: usize = output + outputBytes;

export function initialise(): void {
  const pages = <i32>((outputEnd + slack + 0xffff) >> 16);
  if (pages > memory.size()) memory.grow(pages - memory.size());
}
