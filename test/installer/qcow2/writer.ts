/** What of a small image of version 3 a test may want to set. */
export interface ImageParts {
  readonly version?: number;
  readonly clusterBits?: number;
  readonly virtualBytes?: bigint;
  readonly encryption?: number;
  readonly l1Entries?: number;
  readonly l1OffsetBytes?: bigint;
  readonly incompatible?: bigint;
  readonly headerBytes?: number;
  readonly compressionType?: number;
  /** Names of incompatible features by their bits. */
  readonly featureNames?: Readonly<Record<number, string>>;
  /** Replaces the header extensions. */
  readonly extensions?: Buffer;
  readonly backingOffsetBytes?: bigint;
  readonly backingBytes?: number;
  readonly l1?: readonly bigint[];
  /** Entries, of which an extended one has two words. */
  readonly l2?: readonly bigint[];
  /** From `dataOffset` on. */
  readonly data?: Buffer;
}

export const clusterBytes = 65_536;
export const l1Offset = 65_536;
export const l2Offset = 2 * clusterBytes;
export const dataOffset = 3 * clusterBytes;

/**
 * An image with the header, the L1 table, one L2 table and data in a cluster each (QEMU,
 * docs/interop/qcow2.txt). It has no reference counts, which no reader of the disk needs.
 */
export function writeImage(parts: ImageParts = {}): Buffer {
  const { l1 = [BigInt(l2Offset)], l2 = [BigInt(dataOffset)], data = Buffer.alloc(clusterBytes, 'data') } = parts;
  const file = Buffer.alloc(dataOffset + data.length);
  file.write('QFI\xfb', 'latin1');
  file.writeUInt32BE(parts.version ?? 3, 4);
  file.writeBigUInt64BE(parts.backingOffsetBytes ?? 0n, 8);
  file.writeUInt32BE(parts.backingBytes ?? 0, 16);
  file.writeUInt32BE(parts.clusterBits ?? 16, 20);
  file.writeBigUInt64BE(parts.virtualBytes ?? BigInt(4 * clusterBytes), 24);
  file.writeUInt32BE(parts.encryption ?? 0, 32);
  file.writeUInt32BE(parts.l1Entries ?? l1.length, 36);
  file.writeBigUInt64BE(parts.l1OffsetBytes ?? BigInt(l1Offset), 40);
  file.writeBigUInt64BE(parts.incompatible ?? 0n, 72);
  file.writeUInt32BE(4, 96);
  const headerBytes = parts.headerBytes ?? 112;
  file.writeUInt32BE(headerBytes, 100);
  file[104] = parts.compressionType ?? 0;
  (parts.extensions ?? featureNames(parts.featureNames ?? {})).copy(file, headerBytes);
  for (const [i, entry] of l1.entries()) file.writeBigUInt64BE(entry, l1Offset + i * 8);
  for (const [i, word] of l2.entries()) file.writeBigUInt64BE(word, l2Offset + i * 8);
  data.copy(file, dataOffset);
  return file;
}

function featureNames(names: Readonly<Record<number, string>>): Buffer {
  const entries = Object.entries(names).map(([bit, name]) => {
    const entry = Buffer.alloc(48);
    entry[1] = Number(bit);
    entry.write(name, 2);
    return entry;
  });
  return extension(0x6803f857, Buffer.concat(entries));
}

/** @param lengthBytes that it says it has. Default: that of its content */
export function extension(type: number, content: Buffer, lengthBytes = content.length): Buffer {
  const head = Buffer.alloc(8);
  head.writeUInt32BE(type, 0);
  head.writeUInt32BE(lengthBytes, 4);
  return Buffer.concat([head, content]);
}

/** The L2 entry of a compressed cluster in parts of `sectors` sectors. */
export function compressedEntry(offsetBytes: number, sectors: number): bigint {
  return (1n << 62n) | (BigInt(sectors - 1) << 54n) | BigInt(offsetBytes);
}
