/**
 * The pages in which a SCSI device describes itself (SPC-4, section 7.8), as the kernel shows them:
 * /sys/class/scsi_device/…/device/vpd_pg80 and so on.
 */

export interface UnitIdentifier {
  /** Without the digit that stands for its type. */
  readonly serial: string;
  /** As udev writes it: `0x` and the digits. Only names that are unique in the world (NAA). */
  readonly wwn?: string | undefined;
}

const headerBytes = 4;

/** Page 0x80: the unit's serial number. */
export function parseUnitSerial(page: Buffer): string {
  const length = page.length < headerBytes ? 0 : page.readUInt16BE(2);
  return page
    .toString('latin1', headerBytes, headerBytes + length)
    .replaceAll('\0', '')
    .trim();
}

/**
 * Types of identifiers of page 0x83, the best first: NAA, EUI-64, with the vendor's name, of the
 * vendor alone.
 */
const types = [3, 2, 1, 0];
/** Among those of type NAA: with an extension, without, all others. */
const authorities = [6, 5];

/** Page 0x83: the best of the names of the unit itself, not of its ports. */
export function parseUnitIdentifiers(page: Buffer): UnitIdentifier | undefined {
  const identifiers = [...identifiersIn(page)].filter(({ ofUnit }) => ofUnit);
  for (const type of types) {
    const ofType = identifiers.filter((one) => one.type === type);
    const best = authorities
      .map((authority) => ofType.find(({ bytes }) => type === 3 && (bytes[0] ?? 0) >> 4 === authority))
      .find((one) => one !== undefined);
    const { bytes, isText } = best ?? ofType[0] ?? {};
    if (bytes === undefined) continue;
    const serial = isText === true ? bytes.toString('latin1').replaceAll('\0', '') : bytes.toString('hex');
    return { serial, wwn: type === 3 ? `0x${serial}` : undefined };
  }
  return undefined;
}

function* identifiersIn(page: Buffer): Generator<{ type: number; isText: boolean; ofUnit: boolean; bytes: Buffer }> {
  let offset = headerBytes;
  while (offset + headerBytes <= page.length) {
    const [code = 0, kind = 0, , length = 0] = page.subarray(offset, offset + headerBytes);
    const bytes = page.subarray(offset + headerBytes, offset + headerBytes + length);
    if (bytes.length > 0) yield { type: kind & 0xf, isText: (code & 0xf) === 2, ofUnit: (kind & 0x30) === 0, bytes };
    offset += headerBytes + length;
  }
}

/** Where the answer to IDENTIFY DEVICE begins in page 0x89 (SAT-3, section 12.4.2). */
const identifyOffset = 60;

/** Page 0x89: what an ATA disk says of itself (ACS-3, section 7.12.7). */
export function parseIdentifyData(page: Buffer): { model: string; serial: string; wwn?: string | undefined } {
  const word = (number: number) =>
    page.length < identifyOffset + 512 ? 0 : page.readUInt16LE(identifyOffset + 2 * number);
  const text = (first: number, count: number) =>
    Array.from({ length: count }, (_, index) => word(first + index))
      .map((value) => String.fromCharCode(value >> 8, value & 0xff))
      .join('')
      .replaceAll('\0', '');
  const hasName = (word(87) & 0xc100) === 0x4100;
  const name = [108, 109, 110, 111].reduce((value, number) => (value << 16n) | BigInt(word(number)), 0n);
  return { model: text(27, 20), serial: text(10, 10), wwn: hasName ? `0x${name.toString(16)}` : undefined };
}
