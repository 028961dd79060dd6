import { basename } from 'node:path';
import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import { WrongContentError } from '../../registry/repository.ts';
import { decompress } from '../decompress/decompress.ts';
import { DecompressError } from '../decompress/error.ts';
import { type Format, formatOf, magicBytes } from '../decompress/format.ts';
import { openDisk } from '../disk/device.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { type WriteProgress, type WrittenImage, writeImage } from '../disk/write.ts';
import type { Extent } from '../extent.ts';
import type { DownloadClient } from '../fetch/client.ts';
import { fetchImage, type Image } from '../fetch/fetch.ts';
import { openImageFile } from '../image-file.ts';
import type { Report } from '../progress.ts';
import { withGoodUrl } from '../restart.ts';
import { chooseTarget, warnOfMembers } from '../target.ts';
import { readBack, rescanTable, untilCommitted } from '../write-steps.ts';
import { type Check, prepareChecks } from './checks.ts';
import { openRegistryImage, openRepository, type RegistryOrigin } from './registry-image.ts';
import type { ImageOrigin, Settings } from './settings.ts';

export interface WriteContext {
  readonly client: DownloadClient;
  readonly report: Report;
  /** Called some hundred times a second. */
  readonly onWritten: (progress: WriteProgress) => void;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly siteKeyFile: string | undefined;
}

/** An image that is on the disk. */
export interface ImageOnDisk {
  /** URL or path of the image. */
  readonly origin: string;
  readonly disk: string;
  readonly imageBytes: number;
  readonly writtenBytes: number;
  readonly zeroedBytes: number;
}

/**
 * Writes an image to the disk that the settings name, with the promises of `flatcar-install`: a
 * disk in use is refused, and the disk can boot only when all of the image is there and verified.
 * @throws {InstallError} with the state of the disk if it was changed
 */
export async function writeToDisk(settings: Settings, context: WriteContext): Promise<ImageOnDisk> {
  const { report, clock, signal } = context;
  const { target, image: origin } = settings;
  const path = await chooseTarget(target, context);
  if (target.kind === 'smallest') report.note(`Selected ${path}`);
  const { minBytes, never } = target;
  await using disk = await openDisk(path, { minBytes, never, anySectorSize: true, clock, signal });
  disk.erase(warnOfMembers(disk, undefined, target.wipeMembers, report));
  let from = '';
  const attempt = (open: () => Promise<Image>, onOrigin: (url: string) => void = () => {}) =>
    untilCommitted(disk, signal, () =>
      writeOnce(open, settings, disk, context, (url) => {
        from = url;
        onOrigin(url);
      }),
    );
  const image = await writeFrom(origin, attempt, context);
  await untilCommitted(disk, signal, async () => {
    await readBack(image, disk, report);
    signal.throwIfAborted();
    report.phase('commit', `Writing the first MiB of ${disk.path}`);
    await image.commit();
  });
  await rescanTable(disk, report);
  const { sizeBytes: imageBytes, writtenBytes, zeroedBytes } = image;
  return { origin: from, disk: disk.path, imageBytes, writtenBytes, zeroedBytes };
}

type Attempt = (open: () => Promise<Image>, onOrigin?: (url: string) => void) => Promise<WrittenImage>;

/** Makes attempts as long as there is another server that may have a good image. */
async function writeFrom(origin: ImageOrigin, attempt: Attempt, context: WriteContext): Promise<WrittenImage> {
  const { client, report, signal } = context;
  switch (origin.kind) {
    case 'file':
      return await attempt(() => openImageFile(origin.path, signal));
    case 'urls':
      return await withGoodUrl(origin.urls, report, (urls, onOrigin) =>
        attempt(() => fetchImage(client, urls, signal), onOrigin),
      );
    case 'registry':
      return await writeFromRegistry(origin, attempt, context);
  }
}

async function writeFromRegistry(
  origin: RegistryOrigin,
  attempt: Attempt,
  { client, report, signal }: WriteContext,
): Promise<WrittenImage> {
  const { clock, authorities, onRetry } = client.options;
  const context = { clock, authorities, onRetry };
  using repository = await openRepository(origin, context);
  for (;;) {
    try {
      return await attempt(() => openRegistryImage(repository, origin, context, signal));
    } catch (error) {
      if (!isWrongContent(error) || !repository.hasOtherHosts) throw error;
      report.warn(`${reasonOf(error)}; trying another host`);
    }
  }
}

function isWrongContent(error: unknown): boolean {
  return error instanceof Error && (error instanceof WrongContentError || isWrongContent(error.cause));
}

/** Writes all of the image but its first MiB, and returns when it is verified. */
async function writeOnce(
  open: () => Promise<Image>,
  settings: Settings,
  disk: TargetDisk,
  context: WriteContext,
  onOrigin: (url: string) => void,
): Promise<WrittenImage> {
  const { report, signal } = context;
  using source = await open();
  const name = nameOf(source.origin);
  const checks = await prepareChecks(settings, name, context);
  onOrigin(source.origin);
  report.phase('write', `Beginning write of image [${name}] to disk [${disk.path}]`);
  const onWarning = (message: string) => report.warn(message);
  const decoded = decompress(watched(source, checks, report), {
    name,
    signal,
    onWarning,
    isSigned: checks.length > 0,
    onFormat: (format) => tellFormat(format, name, settings.compressed, report),
  });
  const image = await writeImage(withoutContainer(decoded), disk, {
    content: 'any',
    growTable: settings.growTable,
    readBack: settings.readBack,
    signal,
    onWarning,
    onProgress: context.onWritten,
  });
  if (settings.growTable && image.table === undefined)
    report.warn('the image has no partition table (GPT), so GROW_GPT does nothing');
  for (const check of checks) report.phase('verify', await check.verified());
  return image;
}

/** File name of a path, URL or name in a registry. */
function nameOf(origin: string): string {
  return basename(origin.includes('://') ? (URL.parse(origin)?.pathname ?? origin) : origin);
}

function watched(source: Image, checks: readonly Check[], report: Report): AsyncIterable<Uint8Array> {
  const counted = async function* () {
    let doneBytes = 0;
    for await (const chunk of source.bytes) {
      doneBytes += chunk.length;
      report.transferred(doneBytes, source.sizeBytes);
      yield chunk;
    }
  };
  return checks.reduce<AsyncIterable<Uint8Array>>((bytes, check) => check.watch(bytes), counted());
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
