// Runs: four equal bytes are followed by the number of further ones.

import { addBytes, addZeroes } from './crc';
import { Lane, output, outputBytes } from './memory';

const zeroRunBytes: u32 = 64 * 1024;
const unfinishedRun: i32 = i32.MIN_VALUE;

export function expand(lane: Lane): i32 {
  const zeroes = zeroRun(lane);
  if (zeroes) return -zeroes;
  const bytes = lane.bytes;
  const end = bytes + lane.length;
  let from = bytes + lane.position;
  let to = output;
  // Whole runs only (at most 4 + 255 bytes), so that the position is the only state.
  const full = output + outputBytes - 259;
  while (from < end && to <= full) {
    // 16 bytes at none of which a run of four begins are copied as they are.
    while (from + 19 <= end && to <= full) {
      const a = v128.load(from);
      const b = v128.load(from, 1);
      const equal = v128.and(i8x16.eq(a, b), v128.and(i8x16.eq(b, v128.load(from, 2)), i8x16.eq(b, v128.load(from, 3))));
      v128.store(to, a);
      const runs = i8x16.bitmask(equal);
      const plain: usize = runs ? ctz(runs) : 16;
      from += plain;
      to += plain;
      if (runs) break;
    }
    if (from >= end || to > full) break;
    const byte = load<u8>(from);
    const run = runAt(from, end);
    store<u32>(to, <u32>byte * 0x01010101);
    from += run;
    to += run;
    if (run < 4) continue;
    if (from >= end) return unfinishedRun;
    const more = <usize>load<u8>(from++);
    const vector = i8x16.splat(byte);
    for (let at: usize = 0; at < more; at += 16) v128.store(to + at, vector);
    to += more;
  }
  lane.position = <u32>(from - bytes);
  const written = <u32>(to - output);
  lane.register = addBytes(lane.register, output, written);
  return written;
}

/** How many equal bytes there are, up to four. */
@inline
function runAt(at: usize, end: usize): usize {
  const byte = load<u8>(at);
  let run: usize = 1;
  while (run < 4 && at + run < end && load<u8>(at + run) == byte) run++;
  return run;
}

/**
 * Takes a run of zeroes at the lane's position, if it is long: four zeroes and the number of
 * further ones, again and again.
 */
function zeroRun(lane: Lane): u32 {
  const end = lane.bytes + lane.length;
  let at = lane.bytes + lane.position;
  let total: u32 = 0;
  for (; at + 4 < end && !load<u32>(at); at += 5) total += 4 + load<u8>(at, 4);
  if (total < zeroRunBytes) return 0;
  lane.position = <u32>(at - lane.bytes);
  lane.register = addZeroes(lane.register, total);
  return total;
}
