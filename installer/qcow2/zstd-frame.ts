/**
 * Length of the zstd frame at the beginning of `bytes` (RFC 8878, section 3.1.1), by the headers of
 * its blocks. What follows may be a frame too: in a qcow2 image that is the next cluster.
 * @returns bytes; undefined: it is no frame, or does not end in `bytes`
 */
export function zstdFrameBytes(bytes: Buffer): number | undefined {
  if (bytes.length < 6 || bytes.readUInt32LE(0) !== 0xfd2fb528) return undefined;
  const descriptor = bytes[4] ?? 0;
  const isSingleSegment = (descriptor & 0x20) !== 0;
  const dictionaryIdBytes = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const contentSizeBytes = [isSingleSegment ? 1 : 0, 2, 4, 8][descriptor >> 6] ?? 0;
  const checksumBytes = (descriptor & 4) !== 0 ? 4 : 0;
  let offset = 5 + (isSingleSegment ? 0 : 1) + dictionaryIdBytes + contentSizeBytes;
  for (let isLast = false; !isLast; ) {
    if (offset + 3 > bytes.length) return undefined;
    const header = bytes.readUIntLE(offset, 3);
    isLast = (header & 1) !== 0;
    const isRunLength = ((header >> 1) & 3) === 1;
    offset += 3 + (isRunLength ? 1 : header >> 3);
  }
  return offset + checksumBytes <= bytes.length ? offset + checksumBytes : undefined;
}
