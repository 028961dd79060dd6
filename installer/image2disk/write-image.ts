import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import { WrongContentError } from '../../registry/repository.ts';
import { openDisk } from '../disk/device.ts';
import type { TargetDisk } from '../disk/target-disk.ts';
import { type WriteProgress, type WrittenImage, writeImage } from '../disk/write.ts';
import type { DownloadClient } from '../fetch/client.ts';
import { openFileAccess } from '../fetch/file-access.ts';
import { openRanges } from '../fetch/ranges.ts';
import { streamAccess } from '../fetch/stream-access.ts';
import type { Report } from '../progress.ts';
import { withGoodUrl } from '../restart.ts';
import { chooseTarget, warnOfMembers } from '../target.ts';
import { readBack, rescanTable, untilCommitted } from '../write-steps.ts';
import { openContent, type Source } from './content.ts';
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
  const attempt = (source: Source, onOrigin: (url: string) => void = () => {}) =>
    untilCommitted(disk, signal, () =>
      writeOnce(source, settings, disk, context, (url) => {
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

type Attempt = (source: Source, onOrigin?: (url: string) => void) => Promise<WrittenImage>;

/** Makes attempts as long as there is another server that may have a good image. */
async function writeFrom(origin: ImageOrigin, attempt: Attempt, context: WriteContext): Promise<WrittenImage> {
  const { client, report, signal } = context;
  switch (origin.kind) {
    case 'file':
      return await attempt(() => openFileAccess(origin.path));
    case 'urls':
      return await withGoodUrl(origin.urls, report, (urls, onOrigin) =>
        attempt(() => openRanges(client, urls, signal, 'check IMG_URL'), onOrigin),
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
      return await attempt(async () => streamAccess(await openRegistryImage(repository, origin, context, signal)));
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
  source: Source,
  settings: Settings,
  disk: TargetDisk,
  context: WriteContext,
  onOrigin: (url: string) => void,
): Promise<WrittenImage> {
  const { report, signal } = context;
  using content = await openContent(source, settings, context);
  onOrigin(content.origin);
  report.phase('write', `Beginning write of image [${content.name}] to disk [${disk.path}]`);
  const image = await writeImage(content.extents(), disk, {
    content: 'any',
    imageBytes: content.sizeBytes,
    growTable: settings.growTable,
    readBack: settings.readBack,
    signal,
    onWarning: (message) => report.warn(message),
    onProgress: context.onWritten,
  });
  if (settings.growTable && image.table === undefined)
    report.warn('the image has no partition table (GPT), so GROW_GPT does nothing');
  await content.verified();
  return image;
}
