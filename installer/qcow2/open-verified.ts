import type { RangedImage, StreamedImage } from '../fetch/random-access.ts';
import { streamAccess } from '../fetch/stream-access.ts';
import { verifiedAccess } from '../fetch/verified-access.ts';
import { wholeImage } from '../fetch/whole-image.ts';
import { openQcow2, type Qcow2Disk } from './qcow2.ts';
import { isInStreamOrder } from './stream-order.ts';

/** A hash or a signature of the whole file. */
export interface WholeFileCheck<Result> {
  /** Passes the bytes of its source through, and sees every one of them in order. Called once. */
  watch(source: AsyncIterable<Uint8Array>): AsyncIterable<Uint8Array>;
  /**
   * Called once, when `watch` has read its source to the end.
   * @throws the file is not what it should be
   */
  verified(): Promise<Result>;
}

/** How the file is read, for messages. */
export type Passes = 'only what has data' | 'once, in order' | 'twice';

export interface OpenedDisk<Result> extends Qcow2Disk {
  readonly passes: Passes;
  /**
   * Must be called after the last extent: before it, the data may not be that of the checked file.
   * @returns the result of the check; undefined without one
   * @throws the file is not what it should be
   */
  verified(): Promise<Result | undefined>;
}

/**
 * Opens the disk in a qcow2 image so that what is written is what was checked, in the way that
 * reads least:
 *
 * - without a check, only what has data, if the image is no stream;
 * - with a check, all of the file once, if its data is in the order of the disk;
 * - else all of the file, which is checked before this returns, and then what has data, which must
 *   be the same as before.
 *
 * A stream has only the second way.
 * @throws {DecompressError} as {@link openQcow2}; {FileChangedError} also of the extents; what
 *   `check.verified()` throws
 */
export async function openVerified<Result>(
  access: RangedImage | StreamedImage,
  check: WholeFileCheck<Result> | undefined,
  signal: AbortSignal,
): Promise<OpenedDisk<Result>> {
  if (check === undefined) {
    const passes = access.isSequential ? 'once, in order' : 'only what has data';
    return { ...(await openQcow2(access, signal)), passes, verified: async () => undefined };
  }
  const watch = (source: AsyncIterable<Uint8Array>) => check.watch(source);
  if (!access.isSequential) {
    // Refuses most of what is refused before the whole file is read.
    await openQcow2(access, signal);
    if (!(await isInStreamOrder(access, signal))) {
      const again = await verifiedAccess(access, watch, signal);
      const result = await check.verified();
      return { ...(await openQcow2(again, signal)), passes: 'twice', verified: async () => result };
    }
  }
  const whole = wholeImage(access, signal);
  const watched = streamAccess({ ...whole, bytes: watch(whole.bytes), [Symbol.dispose]() {} });
  return { ...(await openQcow2(watched, signal)), passes: 'once, in order', verified: () => check.verified() };
}
