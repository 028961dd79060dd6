import { type RandomAccess, readInto } from '../fetch/random-access.ts';
import { damaged, unsupported } from './errors.ts';

/** What the header of a qcow2 image says about where its data is. */
export interface Header {
  /** Of the disk in the image. */
  readonly virtualBytes: number;
  readonly clusterBytes: number;
  readonly version: 2 | 3;
  readonly compression: 'zlib' | 'zstd';
  /** Whether clusters have subclusters: each entry of an L2 table has 16 bytes instead of 8. */
  readonly hasSubclusters: boolean;
  readonly l1OffsetBytes: number;
  /** Entries of the L1 table that the disk needs. There may be more. */
  readonly l1Entries: number;
}

const magic = 0x514649fb;
const version2Bytes = 72;
const minVersion3Bytes = 104;
const [minClusterBits, maxClusterBits] = [9, 21];
/** As in QEMU (`QCOW_MAX_L1_SIZE`). */
const maxL1Bytes = 32 * 1024 * 1024;
/** A subcluster has at least one sector. */
const minClusterBytesWithSubclusters = 32 * 512;

const incompatible = { dirty: 0, corrupt: 1, dataFile: 2, compression: 3, subclusters: 4 };
const extensions = { end: 0, backingFormat: 0xe2792aca, dataFile: 0x44415441, featureNames: 0x6803f857 };

/**
 * Reads and checks the header (QEMU, docs/interop/qcow2.txt), so that each offset and size in it
 * can be used.
 *
 * @throws {DecompressError} it is damaged; the data of the disk is not all in this file, or it is
 *   encrypted; it needs a feature that is not known
 */
export async function readHeader(image: RandomAccess, signal: AbortSignal): Promise<Header> {
  const fixed = Buffer.alloc(minVersion3Bytes + 8);
  const fixedBytes = await readInto(image, 0, fixed, signal);
  if (fixedBytes < version2Bytes) throw damaged(`it has only ${fixedBytes} bytes`, fixedBytes);
  if (fixed.readUInt32BE(0) !== magic) throw damaged('it does not begin as one', 0);
  const version = fixed.readUInt32BE(4);
  if (version !== 2 && version !== 3)
    throw unsupported(`it is a qcow2 image of version ${version}, and only 2 and 3 are supported (${convertHint})`);
  if (version === 3 && fixedBytes < minVersion3Bytes) throw damaged(`it has only ${fixedBytes} bytes`, fixedBytes);
  const clusterBits = fixed.readUInt32BE(20);
  if (clusterBits < minClusterBits || clusterBits > maxClusterBits)
    throw damaged(
      `its clusters have 2^${clusterBits} bytes; they can have 2^${minClusterBits} to 2^${maxClusterBits}`,
      20,
    );
  const clusterBytes = 2 ** clusterBits;
  const headerBytes = version === 2 ? version2Bytes : fixed.readUInt32BE(100);
  if (headerBytes < (version === 2 ? version2Bytes : minVersion3Bytes) || headerBytes > clusterBytes)
    throw damaged(`its header has ${headerBytes} bytes`, 100);

  const cluster = Buffer.alloc(clusterBytes);
  const area = cluster.subarray(0, await readInto(image, 0, cluster, signal));
  if (area.length < headerBytes) throw damaged(`it has only ${area.length} bytes`, area.length);
  const features = version === 2 ? 0n : area.readBigUInt64BE(72);
  const found = readExtensions(area, headerBytes);
  refuseWhatIsElsewhere(area, features, found);
  const hasSubclusters = hasBit(features, incompatible.subclusters);
  if (hasSubclusters && clusterBytes < minClusterBytesWithSubclusters)
    throw damaged(`its clusters of ${clusterBytes} bytes are too small for subclusters`, 20);
  return {
    clusterBytes,
    version,
    compression: compressionOf(area, headerBytes, hasBit(features, incompatible.compression)),
    hasSubclusters,
    ...readSizes(area, clusterBytes, clusterBytes * (clusterBytes / (hasSubclusters ? 16 : 8)), image.sizeBytes),
  };
}

/** @param l2CoverageBytes what one L2 table describes of the disk */
function readSizes(
  area: Buffer,
  clusterBytes: number,
  l2CoverageBytes: number,
  fileBytes: number | undefined,
): Pick<Header, 'virtualBytes' | 'l1OffsetBytes' | 'l1Entries'> {
  const exactBytes = area.readBigUInt64BE(24);
  if (exactBytes > Number.MAX_SAFE_INTEGER) throw damaged(`its disk has ${exactBytes} bytes`, 24);
  const virtualBytes = Number(exactBytes);
  if (virtualBytes % 512 !== 0) throw damaged(`its disk has ${virtualBytes} bytes, which are not whole sectors`, 24);
  const entries = area.readUInt32BE(36);
  const l1Entries = Math.ceil(virtualBytes / l2CoverageBytes);
  if (entries * 8 > maxL1Bytes) throw damaged(`its L1 table has ${entries} entries, more than ${maxL1Bytes / 8}`, 36);
  if (l1Entries > entries)
    throw damaged(`its L1 table has ${entries} entries, and ${virtualBytes} bytes of disk need ${l1Entries}`, 36);
  const l1OffsetBytes = Number(area.readBigUInt64BE(40));
  if (l1OffsetBytes % clusterBytes !== 0 || (l1Entries > 0 && l1OffsetBytes === 0))
    throw damaged(`its L1 table is at byte ${l1OffsetBytes}, which is not the beginning of a cluster`, 40);
  if (fileBytes !== undefined && l1OffsetBytes + l1Entries * 8 > fileBytes)
    throw damaged(`its L1 table is at byte ${l1OffsetBytes}, and the file has only ${fileBytes} bytes`, 40);
  return { virtualBytes, l1OffsetBytes, l1Entries };
}

function compressionOf(area: Buffer, headerBytes: number, hasCompressionBit: boolean): Header['compression'] {
  const type = headerBytes > minVersion3Bytes ? (area[minVersion3Bytes] ?? 0) : 0;
  if (type > 1)
    throw unsupported(
      `it has compressed clusters of an unknown kind (${type}); zlib and zstd are supported (${convertHint})`,
    );
  if ((type === 1) !== hasCompressionBit) throw damaged('its kind of compression contradicts its features', 104);
  return type === 0 ? 'zlib' : 'zstd';
}

interface Extensions {
  readonly backingFile: string | undefined;
  readonly dataFile: string | undefined;
  /** Names of incompatible features by their bits. */
  readonly featureNames: ReadonlyMap<number, string>;
}

function readExtensions(area: Buffer, headerBytes: number): Extensions {
  const backingOffset = Number(area.readBigUInt64BE(8));
  const backingBytes = backingOffset === 0 ? 0 : area.readUInt32BE(16);
  if (backingOffset + backingBytes > area.length || backingBytes > 1023)
    throw damaged(`the name of its backing file has ${backingBytes} bytes at byte ${area.readBigUInt64BE(8)}`, 8);
  const featureNames = new Map<number, string>();
  let dataFile: string | undefined;
  const end = backingOffset === 0 ? area.length : backingOffset;
  for (let offset = headerBytes; offset + 8 <= end; ) {
    const [type, length] = [area.readUInt32BE(offset), area.readUInt32BE(offset + 4)];
    // QEMU wants that of the one that ends the list, too.
    if (length > end - offset - 8) throw damaged(`its header extension at byte ${offset} has ${length} bytes`, offset);
    if (type === extensions.end) break;
    const content = area.subarray(offset + 8, offset + 8 + length);
    if (type === extensions.dataFile) dataFile = content.toString();
    if (type === extensions.featureNames) readFeatureNames(content, featureNames);
    offset += 8 + Math.ceil(length / 8) * 8;
  }
  const backingFile = area.toString('utf8', backingOffset, backingOffset + backingBytes);
  return { backingFile: backingBytes === 0 ? undefined : backingFile, dataFile, featureNames };
}

function readFeatureNames(content: Buffer, names: Map<number, string>): void {
  const entryBytes = 48;
  for (let offset = 0; offset + entryBytes <= content.length; offset += entryBytes) {
    const isIncompatible = content[offset] === 0;
    const name = content.toString('utf8', offset + 2, offset + entryBytes).replace(/\0.*$/s, '');
    if (isIncompatible) names.set(content[offset + 1] ?? 0, name);
  }
}

const convertHint = 'convert it with qemu-img convert -O qcow2 IMAGE NEW-IMAGE';

function refuseWhatIsElsewhere(
  area: Buffer,
  features: bigint,
  { backingFile, dataFile, featureNames }: Extensions,
): void {
  if (backingFile !== undefined)
    throw unsupported(
      `it is a qcow2 image with the backing file ${backingFile}, which has a part of its data (make one image of both with qemu-img convert -O qcow2 IMAGE NEW-IMAGE)`,
    );
  const encryption = area.readUInt32BE(32);
  if (encryption !== 0) {
    const method = ['', 'AES', 'LUKS'][encryption] ?? `method ${encryption}`;
    throw unsupported(
      `it is a qcow2 image with encryption (${method}) (decrypt it with qemu-img convert --object secret,id=key,file=PASSWORD-FILE --image-opts driver=qcow2,file.filename=IMAGE,encrypt.key-secret=key -O qcow2 NEW-IMAGE)`,
    );
  }
  if (hasBit(features, incompatible.dataFile))
    throw unsupported(
      `it is a qcow2 image with its data in another file${dataFile === undefined ? '' : `, ${dataFile}`} (make one image of both with qemu-img convert -O qcow2 IMAGE NEW-IMAGE)`,
    );
  if (hasBit(features, incompatible.corrupt))
    throw damaged('it is marked as corrupt (repair it with qemu-img check -r all IMAGE)', 72);
  for (let bit = incompatible.subclusters + 1; bit < 64; bit++) {
    if (!hasBit(features, bit)) continue;
    const name = featureNames.get(bit) ?? `of bit ${bit}`;
    throw unsupported(`it is a qcow2 image with the feature ${name}, which is not supported (${convertHint})`);
  }
}

function hasBit(features: bigint, bit: number): boolean {
  return ((features >> BigInt(bit)) & 1n) === 1n;
}
