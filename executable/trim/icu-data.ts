/**
 * Cuts the data of ICU (https://unicode-org.github.io/icu/userguide/icu_data/, the common data
 * format of `.dat` files) to some of its items. The others are removed from the table of contents,
 * as if ICU had been built without them, and their bytes become zeroes, which compress to nothing.
 * Nothing moves.
 *
 * @param data begins with the header; it is changed
 * @param isKept decides by the name of an item without the package: `zone/de.res`
 * @throws {Error} it is no little-endian data of ICU
 */
export function cutIcuData(data: Buffer, isKept: (name: string) => boolean): void {
  const headerBytes = data.readUInt16LE(0);
  if (data.readUInt16BE(2) !== magic || data[8] !== 0 || data.toString('latin1', 12, 16) !== 'CmnD')
    throw new Error('no little-endian data of ICU');
  const base = headerBytes;
  const count = data.readUInt32LE(base);
  const items = Array.from({ length: count }, (_, index) => readItem(data, base, index));
  const kept = items.filter(({ name }) => isKept(name));
  for (const [index, { name, offset }] of items.entries()) {
    const next = items[index + 1]; // the last item ends with the data
    if (!isKept(name)) data.fill(0, base + offset, next === undefined ? data.length : base + next.offset);
  }
  data.writeUInt32LE(kept.length, base);
  for (const [index, { nameOffset, offset }] of kept.entries()) {
    data.writeUInt32LE(nameOffset, entryAt(base, index));
    data.writeUInt32LE(offset, entryAt(base, index) + 4);
  }
  data.fill(0, entryAt(base, kept.length), entryAt(base, count));
}

const magic = 0xda27;

interface Item {
  readonly name: string;
  /** Both from the beginning of the table of contents. */
  readonly nameOffset: number;
  readonly offset: number;
}

function readItem(data: Buffer, base: number, index: number): Item {
  const nameOffset = data.readUInt32LE(entryAt(base, index));
  const end = data.indexOf(0, base + nameOffset);
  const path = data.toString('latin1', base + nameOffset, end);
  return { name: path.slice(path.indexOf('/') + 1), nameOffset, offset: data.readUInt32LE(entryAt(base, index) + 4) };
}

function entryAt(base: number, index: number): number {
  return base + 4 + 8 * index;
}
