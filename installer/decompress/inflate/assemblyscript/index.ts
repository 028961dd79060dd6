// The decoder of deflate (RFC 1951), in AssemblyScript, called by ../kernel.ts, which describes the
// functions.

import * as source from './bits';
import { align, close, isOverrun, open, prepare, refill, restore, skip, take } from './bits';
import {
  distanceBits,
  distanceTable,
  endOfBlock,
  exceptional,
  find,
  invalid,
  lengthBits,
  lengthTable,
  literal,
  valueOf,
} from './code';
import { readDynamic, readFixed } from './header';
import * as memoryOf from './memory';
import { maxLength, output as begin, outputEnd, windowBytes } from './memory';

// As `inflateStatus` in ../kernel.ts.
const needsInput: u32 = 0;
const hasOutput: u32 = 1;
const hasZeroes: u32 = 2;
const ended: u32 = 3;
const truncated: u32 = 4;
const badType: u32 = 5;
const badSymbol: u32 = 9;
const badDistance: u32 = 10;
const badStored: u32 = 11;

const inHeader: u32 = 0;
const inStored: u32 = 1;
const inCodes: u32 = 2;

/** The header of a block with the longest code lengths has fewer bytes. */
const headerBytes: u32 = 600;
/** Zeroes are reported at the latest when there are so many. */
const maxZeroes: u64 = 64 * 1024 * 1024;
/** So many of the longest matches in a row are longer than the window. */
const suspectMatches: u32 = windowBytes / maxLength + 2;

let state: u32 = inHeader;
let isFinal: bool = false;
let storedLeft: u32 = 0;
/** Where output is written, where what was not delivered begins, how far matches may reach. */
let out: usize = begin;
let delivered: usize = begin;
let history: usize = begin;
/**
 * The whole window is zeroes: whatever a match copies is zeroes. They are counted, not written.
 */
let onlyZeroes: bool = false;
let zeroes: u64 = 0;
/** Where the last of the longest matches ended, and how many there were in a row. */
let longestEnd: usize = 0;
let longestCount: u32 = 0;

export function initialise(): void {
  memoryOf.initialise();
}

export function input(): usize {
  return memoryOf.input;
}

export function inputBytes(): u32 {
  return memoryOf.inputBytes;
}

export function start(): void {
  align();
  state = inHeader;
  isFinal = false;
  history = out;
  onlyZeroes = false;
  longestCount = 0;
}

export function position(): u32 {
  return <u32>(source.at - memoryOf.input);
}

export function outputStart(): usize {
  return delivered;
}

export function outputEndAt(): usize {
  return out;
}

/** Delivers the output: its memory is used again. */
export function takeOutput(): void {
  const kept = min<usize>(out - history, windowBytes);
  memory.copy(begin - kept, out - kept, kept);
  history = begin - kept;
  out = begin;
  delivered = begin;
  longestCount = 0;
}

export function takeZeroes(): f64 {
  const taken = <f64>zeroes;
  zeroes = 0;
  return taken;
}

export function run(from: u32, length: u32, last: bool): u32 {
  open(from, length, last);
  const status = proceed();
  close();
  return isOverrun() ? truncated : status;
}

function proceed(): u32 {
  for (;;) {
    let status: u32 = 0;
    if (state == inHeader) {
      if (isFinal) {
        if (zeroes) return hasZeroes;
        close();
        align();
        return ended;
      }
      if (source.end - source.at < headerBytes && !source.last) return needsInput;
      status = readHeader();
      if (status) return status;
      if (isOverrun()) return truncated;
    } else if (state == inStored) {
      if (zeroes) return hasZeroes;
      onlyZeroes = false;
      status = copyStored();
    } else {
      status = onlyZeroes ? countZeroes() : decodeCodes();
    }
    if (status != ended) return status;
  }
  return needsInput;
}

/** @returns `ended`, or what is wrong: 0 */
function readHeader(): u32 {
  refill();
  isFinal = take(1) != 0;
  const type = take(2);
  if (type == 0) {
    close();
    align();
    refill();
    storedLeft = take(16);
    if ((take(16) ^ 0xffff) != storedLeft) return badStored;
    close();
    align();
    state = inStored;
    return 0;
  }
  if (type == 3) return badType;
  state = inCodes;
  if (type == 2) return readDynamic();
  readFixed();
  return 0;
}

function copyStored(): u32 {
  while (storedLeft > 0) {
    if (out >= outputEnd) return hasOutput;
    const available = min<usize>(source.end - source.at, outputEnd - out);
    if (!available) return source.last ? truncated : needsInput;
    const length = <u32>min<usize>(available, storedLeft);
    memory.copy(out, source.at, length);
    skip(length);
    out += length;
    storedLeft -= length;
  }
  state = inHeader;
  return ended;
}

/** Symbols until the end of the block, or something else: a status; `ended` also before zeroes. */
function decodeCodes(): u32 {
  for (;;) {
    const fast = decodeFast();
    if (fast) return fast == invalid ? badSymbol : fast;
    if (out >= outputEnd) return hasOutput;
    if (!prepare()) return needsInput;
    const entry = find(lengthTable, lengthBits, source.bits);
    if (entry & literal) {
      source.drop(entry & 63);
      store<u8>(out++, <u8>(entry >> 16));
      if (isOverrun()) return truncated;
      continue;
    }
    if (entry & exceptional) {
      if (entry & invalid) return badSymbol;
      source.drop(entry & 63);
      state = inHeader;
      return isOverrun() ? truncated : ended;
    }
    const length = valueOf(entry, source.bits);
    source.drop(entry & 63);
    const far = find(distanceTable, distanceBits, source.bits);
    if (far & exceptional) return isOverrun() ? truncated : badSymbol;
    const distance = valueOf(far, source.bits);
    source.drop(far & 63);
    if (isOverrun()) return truncated;
    if (distance > <u32>(out - history)) return badDistance;
    copy(length, distance);
    out += length;
  }
  return needsInput;
}

/**
 * The same where neither input nor output can end within a symbol.
 * @returns 0: they may; else a status
 */
function decodeFast(): u32 {
  // Each round takes at most 16 bytes.
  if (source.end - source.at < 16) return 0;
  const inputEnd = source.end - 16;
  let at = source.at;
  let bits = source.bits;
  let count = source.count;
  let to = out;
  let status: u32 = 0;
  while (at <= inputEnd && to < outputEnd) {
    bits |= load<u64>(at) << count;
    at += (63 - count) >> 3;
    count |= 56;
    let entry = load<u32>(lengthTable + ((<usize>bits & ((1 << lengthBits) - 1)) << 2));
    if (entry & literal) {
      bits >>= entry & 63;
      count -= entry & 63;
      store<u8>(to++, <u8>(entry >> 16));
      entry = load<u32>(lengthTable + ((<usize>bits & ((1 << lengthBits) - 1)) << 2));
      if (entry & literal) {
        bits >>= entry & 63;
        count -= entry & 63;
        store<u8>(to++, <u8>(entry >> 16));
        entry = load<u32>(lengthTable + ((<usize>bits & ((1 << lengthBits) - 1)) << 2));
        if (entry & literal) {
          bits >>= entry & 63;
          count -= entry & 63;
          store<u8>(to++, <u8>(entry >> 16));
          continue;
        }
      }
      bits |= load<u64>(at) << count;
      at += (63 - count) >> 3;
      count |= 56;
    }
    if (entry & exceptional) {
      entry = find(lengthTable, lengthBits, bits);
      if (entry & literal) {
        bits >>= entry & 63;
        count -= entry & 63;
        store<u8>(to++, <u8>(entry >> 16));
        continue;
      }
      if (entry & exceptional) {
        if (entry & invalid) {
          status = invalid;
        } else {
          bits >>= entry & 63;
          count -= entry & 63;
          state = inHeader;
          status = ended;
        }
        break;
      }
    }
    const length = valueOf(entry, bits);
    bits >>= entry & 63;
    count -= entry & 63;
    const far = find(distanceTable, distanceBits, bits);
    if (far & exceptional) {
      status = invalid;
      break;
    }
    const distance = valueOf(far, bits);
    bits >>= far & 63;
    count -= far & 63;
    if (distance > <u32>(to - history)) {
      status = badDistance;
      break;
    }
    out = to;
    copy(length, distance);
    to += length;
    if (length == maxLength) {
      if (to - maxLength != longestEnd) longestCount = 0;
      longestEnd = to;
      if (++longestCount >= suspectMatches) {
        longestCount = 0;
        if (isZeroWindow(to)) {
          onlyZeroes = true;
          status = ended;
          // What comes before the zeroes is delivered first.
          if (to > delivered) status = hasOutput;
          break;
        }
      }
    }
  }
  restore(at, bits, count);
  out = to;
  return status;
}

/** Writes up to 15 bytes more. */
@inline
function copy(length: u32, distance: u32): void {
  let to = out;
  const end = to + length;
  let from = to - distance;
  if (distance >= 8) {
    do {
      store<u64>(to, load<u64>(from));
      store<u64>(to, load<u64>(from, 8), 8);
      from += 16;
      to += 16;
    } while (to < end);
  } else if (distance == 1) {
    memory.fill(to, load<u8>(from), length);
  } else {
    do {
      store<u64>(to, load<u64>(from));
      from += distance;
      to += distance;
    } while (to < end);
  }
}

function isZeroWindow(end: usize): bool {
  for (let at = end - windowBytes; at < end; at += 8) if (load<u64>(at)) return false;
  return true;
}

/** As `decodeCodes`, while everything is zeroes. */
function countZeroes(): u32 {
  for (;;) {
    if (zeroes >= maxZeroes) return hasZeroes;
    if (!prepare()) return needsInput;
    const entry = find(lengthTable, lengthBits, source.bits);
    if (entry & literal) {
      if ((entry >> 16) & 0xff) {
        if (zeroes) return hasZeroes;
        onlyZeroes = false;
        return ended;
      }
      source.drop(entry & 63);
      zeroes++;
      if (isOverrun()) return truncated;
      continue;
    }
    if (entry & exceptional) {
      if (entry & invalid) return badSymbol;
      source.drop(entry & 63);
      state = inHeader;
      return isOverrun() ? truncated : ended;
    }
    const length = valueOf(entry, source.bits);
    source.drop(entry & 63);
    const far = find(distanceTable, distanceBits, source.bits);
    if (far & exceptional) return isOverrun() ? truncated : badSymbol;
    source.drop(far & 63);
    if (isOverrun()) return truncated;
    zeroes += length;
  }
  return needsInput;
}
