// The bytes in order of their last use, most recent first (move-to-front).
//
// They lie in rows. The first row grows downwards: a byte that comes to the front from another row
// is stored before it, and only that other row closes up, within a vector. So the rows between the
// two do not move; where each begins in the order is counted instead. When the first row is full,
// all rows have 16 bytes again. No branch depends on the row, because no row is predictable in data
// that does not compress.

const rowBytes: u32 = 16;
/** Room before the first row. */
const room: u32 = 64;
/** Two places for the rows, which take turns: `place ^ other` is the other one. */
const places: usize = memory.data(1024, 1024);
const other: usize = 512;
/** Before which position of the order each row begins. */
const starts: usize = memory.data(16, 16);
/**
 * Where a vector of 16 is read at 256 - position + 16 k, the lanes up to the position of the whole
 * list are ones.
 */
const ones: usize = memory.data(256 + 256 + 16, 64);

/** Rows after the first one are at `place + 16 row`. */
let place: usize = places + room;
let front: usize = places + room;

export function initialise(): void {
  memory.fill(ones, 0xff, 257);
}

/** Begins with the bytes that `set` stores. */
export function reset(): void {
  place = places + room;
  front = place;
  v128.store(starts, wholeRows());
}

@inline
export function set(position: u32, byte: u32): void {
  store<u8>(places + room + position, <u8>byte);
}

@inline
export function first(): u32 {
  return load<u8>(front);
}

@inline
function wholeRows(): v128 {
  return i8x16(0, 16, 32, 48, 64, 80, 96, 112, -128, -112, -96, -80, -64, -48, -32, -16);
}

/** Moves the byte at a position (1 to 255) to the front. */
@inline
export function moveToFront(position: u32): u32 {
  if (position < <u32>load<u8>(starts, 1)) return moveInFirstRow(position);
  const begins = v128.load(starts);
  const reached = i8x16.ge_u(i8x16.splat(<i8>position), begins);
  const row = popcnt(i8x16.bitmask(reached)) - 1;
  const at = position - <u32>load<u8>(starts + row);
  const bytes = place + row * rowBytes;
  const byte = <u32>load<u8>(bytes + at);
  const old = v128.load(bytes);
  const moved = i8x16.shuffle(old, old, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0);
  v128.store(bytes, v128.bitselect(old, moved, v128.load(ones + 257 - at)));
  // All rows from the second one up to this one begin one later.
  const later = v128.and(reached, i8x16(0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  v128.store(starts, i8x16.sub(begins, later));
  front--;
  store<u8>(front, <u8>byte);
  // Before any row is empty, and before a row can begin at 256.
  if (front == place - (rowBytes - 1)) makeWhole();
  return byte;
}

/** The bytes before the position move by one, in at most two vectors. */
@inline
function moveInFirstRow(position: u32): u32 {
  const byte = <u32>load<u8>(front + position);
  const mask = ones + 256 - position;
  const old = move(i8x16.splat(<i8>byte), mask, 0);
  if (position >= 16) move(old, mask, 16);
  return byte;
}

@inline
function move(before: v128, mask: usize, offset: usize): v128 {
  const old = v128.load(front + offset);
  const moved = i8x16.shuffle(before, old, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30);
  v128.store(front + offset, v128.bitselect(moved, old, v128.load(mask + offset)));
  return old;
}

/** Joins the rows at the other place: the next row overwrites what one has beyond its bytes. */
@inline
function makeWhole(): void {
  const next = place ^ other;
  v128.store(next, v128.load(front));
  v128.store(next, v128.load(front, 16), 16);
  for (let row: u32 = 1; row < 16; row++)
    v128.store(next + <u32>load<u8>(starts + row), v128.load(place + row * rowBytes));
  v128.store(starts, wholeRows());
  place = next;
  front = next;
}
