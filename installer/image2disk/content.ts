import { basename } from 'node:path';
import { decompress } from '../decompress/decompress.ts';
import { DecompressError } from '../decompress/error.ts';
import { type Format, formatOf, magicBytes } from '../decompress/format.ts';
import type { Extent } from '../extent.ts';
import type { DownloadClient } from '../fetch/client.ts';
import { type RangedImage, readInto, type StreamedImage } from '../fetch/random-access.ts';
import { wholeImage } from '../fetch/whole-image.ts';
import { formatBytes, type Report } from '../progress.ts';
import { openVerified, type WholeFileCheck } from '../qcow2/open-verified.ts';
import { type Check, prepareChecks } from './checks.ts';
import type { Settings } from './settings.ts';

/** Opens an image: any part of it can be read, or all of it in order. */
export type Source = () => Promise<RangedImage | StreamedImage>;

/** What goes onto the disk. */
export interface Content extends Disposable {
  /** URL or path of the image. */
  readonly origin: string;
  /** File name of the image. */
  readonly name: string;
  /** Of the disk in the image; `undefined` if it is not known beforehand. */
  readonly sizeBytes: number | undefined;
  /** Can be called once. */
  extents(): AsyncIterable<Extent>;
  /**
   * Called after the last extent.
   * @throws {UntrustedError} it is not what the hashes or the signature are for
   */
  verified(): Promise<void>;
}

interface ContentContext {
  readonly client: DownloadClient;
  readonly report: Report;
  readonly signal: AbortSignal;
  readonly siteKeyFile: string | undefined;
}

/** First bytes of a qcow2 image (QEMU, docs/interop/qcow2.txt). */
const qcow2Magic = Buffer.from('QFI\xfb', 'latin1');

/**
 * Opens an image with what it is checked by. Its content decides what it is.
 * @throws {InstallError} what it is checked by cannot be had; a qcow2 image cannot be read
 */
export async function openContent(source: Source, settings: Settings, context: ContentContext): Promise<Content> {
  const { report, signal } = context;
  using opened = new DisposableStack();
  const image = opened.use(await source());
  const name = nameOf(image.origin);
  const check = combined(await prepareChecks(settings, name, context));
  const beginning = Buffer.alloc(qcow2Magic.length);
  await readInto(image, 0, beginning, signal);
  const counted = countedAccess(image, report);
  const { sizeBytes, extents, verified } = beginning.equals(qcow2Magic)
    ? await openQcow2(counted, check, settings, context)
    : openPlain(counted, name, check, settings, context);
  const stack = opened.move();
  return {
    origin: image.origin,
    name,
    sizeBytes,
    extents,
    async verified() {
      for (const result of (await verified()) ?? []) report.phase('verify', result);
    },
    [Symbol.dispose]: () => stack.dispose(),
  };
}

/** What has been verified, for people. */
type Results = readonly string[];

interface Opened {
  readonly sizeBytes: number | undefined;
  readonly extents: () => AsyncIterable<Extent>;
  readonly verified: () => Promise<Results | undefined>;
}

/** An image that is compressed or not. */
function openPlain(
  image: RangedImage | StreamedImage,
  name: string,
  check: WholeFileCheck<Results> | undefined,
  { compressed }: Settings,
  { report, signal }: ContentContext,
): Opened {
  const { bytes } = wholeImage(image, signal);
  const decoded = decompress(check?.watch(bytes) ?? bytes, {
    name,
    signal,
    onWarning: (message) => report.warn(message),
    isSigned: check !== undefined,
    onFormat: (format) => tellFormat(format, name, compressed, report),
  });
  return { sizeBytes: undefined, extents: () => withoutContainer(decoded), verified: async () => check?.verified() };
}

async function openQcow2(
  image: RangedImage | StreamedImage,
  check: WholeFileCheck<Results> | undefined,
  { compressed }: Settings,
  { report, signal }: ContentContext,
): Promise<Opened> {
  if (compressed === false)
    report.warn('COMPRESSED is false, but the image is a qcow2 image: the disk in it is written');
  const disk = await openVerified(image, check, signal);
  report.note(`The image has a disk of ${formatBytes(disk.sizeBytes)} in qcow2; what is read: ${disk.passes}`);
  return disk;
}

/** File name of a path, URL or name in a registry. */
function nameOf(origin: string): string {
  return basename(origin.includes('://') ? (URL.parse(origin)?.pathname ?? origin) : origin);
}

/** All checks as one. */
function combined(checks: readonly Check[]): WholeFileCheck<Results> | undefined {
  if (checks.length === 0) return undefined;
  return {
    watch: (source) => checks.reduce<AsyncIterable<Uint8Array>>((bytes, check) => check.watch(bytes), source),
    async verified() {
      const results: string[] = [];
      for (const check of checks) results.push(await check.verified());
      return results;
    },
  };
}

/** Reports what is read. */
function countedAccess(access: RangedImage | StreamedImage, report: Report): RangedImage | StreamedImage {
  let doneBytes = 0;
  async function* read(offsetBytes: number, lengthBytes: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
    for await (const chunk of access.read(offsetBytes, lengthBytes, signal)) {
      doneBytes += chunk.length;
      report.transferred(doneBytes, access.sizeBytes);
      yield chunk;
    }
  }
  const { origin } = access;
  const finish = (signal: AbortSignal) => access.finish(signal);
  const counted = { origin, read, finish, [Symbol.dispose]: () => access[Symbol.dispose]() };
  return access.isSequential
    ? { ...counted, isSequential: true, sizeBytes: access.sizeBytes }
    : { ...counted, isSequential: false, sizeBytes: access.sizeBytes };
}

/** Suffixes by which the original chooses how to decompress. */
const formatsBySuffix: Readonly<Record<string, Format>> = {
  ...{ '.bzip2': 'bzip2', '.bz2': 'bzip2', '.gz': 'gzip', '.xz': 'xz', '.zs': 'zstd', '.zst': 'zstd' },
};

/** The content decides. What contradicts it is logged: the original would do something else. */
function tellFormat(format: Format, name: string, compressed: boolean | undefined, report: Report): void {
  const suffix = /\.\w+$/.exec(name)?.[0] ?? '';
  const named = Object.hasOwn(formatsBySuffix, suffix) ? formatsBySuffix[suffix] : undefined;
  if (format === 'raw') {
    if (compressed === true) report.warn('COMPRESSED is true, but the image is not compressed: it is written as it is');
    return;
  }
  if (compressed !== true)
    report.warn(`COMPRESSED is not true, but the image is compressed with ${format}: it is decompressed`);
  if (named !== undefined && named !== format)
    report.warn(`the name ends in ${suffix}, but the image is compressed with ${format}: it is decompressed as that`);
}

/**
 * Passes an image through.
 * @throws {DecompressError} what was compressed is no disk image, but another container
 */
async function* withoutContainer(extents: AsyncIterable<Extent>): AsyncGenerator<Extent> {
  let isFirst = true;
  for await (const extent of extents) {
    if (isFirst && extent.kind === 'data') {
      try {
        refuseContainer(extent.bytes);
      } catch (error) {
        extent.release();
        throw error;
      }
    }
    isFirst = false;
    yield extent;
  }
}

function refuseContainer(beginning: Uint8Array): void {
  const format = formatOf(beginning.subarray(0, magicBytes));
  if (format === 'raw') return;
  throw new DecompressError(`what is compressed in it is compressed again, with ${format}`, { offsetBytes: 0 });
}
