import type { Clock } from '../clock/clock.ts';
import { reasonOf } from '../errors/reason.ts';
import { readConfiguration, writeConfiguration } from './configuration.ts';
import { createEfiEntry } from './configure/efi.ts';
import { decompress } from './decompress/decompress.ts';
import { openDisk } from './disk/device.ts';
import type { TargetDisk } from './disk/target-disk.ts';
import { type WrittenImage, writeImage } from './disk/write.ts';
import { InstallError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { openImage } from './image.ts';
import type { InstallPlan, Target } from './plan.ts';
import { formatBytes, type Report } from './progress.ts';
import { type Release, resolveRelease } from './release.ts';
import { withRestarts } from './restart.ts';
import { chooseTarget, findPartitionsToSave, warnOfEarlierInstallations } from './target.ts';
import type { SignedBy } from './verify.ts';

/** What an installation needs of the world besides the disk. */
export interface Surroundings {
  readonly client: DownloadClient;
  readonly report: Report;
  readonly clock: Clock;
  /** Aborting it at any moment leaves the disk either untouched or without a partition table, or completely installed. */
  readonly signal: AbortSignal;
}

export interface Installed {
  /** The device itself. */
  readonly disk: string;
  /** What was installed; `version` is never `current`. */
  readonly release: Release;
  readonly imageFile?: string | undefined;
  readonly imageBytes: number;
  readonly writtenBytes: number;
  readonly zeroedBytes: number;
  /** Undefined where the person chose to do without a signature. */
  readonly signedBy: SignedBy | undefined;
}

/**
 * Installs what the plan says onto the disk that it says. Configs are checked and the image and its signature are found before the disk is touched; the
 * disk can boot only when the image is verified and configured.
 * @throws {InstallError} saying in which state the disk was left if it was touched
 */
export async function install(
  plan: InstallPlan & { readonly target: Target },
  surroundings: Surroundings,
): Promise<Installed> {
  const { client, report, signal } = surroundings;
  const configuration = await readConfiguration(plan.configuration, client, report, signal);
  await using disk = await openTarget(plan.target, surroundings);
  if (!plan.zeroOffload) disk.disableZeroOffload();
  await warnOfEarlierInstallations(disk.path, surroundings);
  disk.save(await findPartitionsToSave(disk, plan.savedLabels, report, signal));
  const release = await findRelease(plan, client, signal);

  const { image, signedBy } = await writeVerified({ ...plan, release }, disk, surroundings);
  await untilCommitted(disk, signal, async () => {
    await readBack(image, disk, report);
    await writeConfiguration(disk, configuration, report, signal);
    signal.throwIfAborted();
    report.phase('commit', `Writing the partition table of ${disk.path}`);
    await image.commit();
  });

  // From here on the disk can boot, and an interrupt would only hide that.
  if (plan.reread) await letKernelSee(disk, report);
  if (plan.configuration.uefiEntry) await addEfiEntry(disk, release, report);
  const { sizeBytes: imageBytes, writtenBytes, zeroedBytes } = image;
  return { disk: disk.path, release, imageFile: plan.imageFile, imageBytes, writtenBytes, zeroedBytes, signedBy };
}

/** The disk that the plan names or that is chosen now, claimed but not changed. */
async function openTarget(target: Target, { report, clock, signal }: Surroundings): Promise<TargetDisk> {
  const path = await chooseTarget(target, clock, signal);
  if (target.kind === 'smallest') report.note(`Chose ${path}, the smallest unused disk`);
  return await openDisk(path, { minimumBytes: target.minimumBytes, clock, signal });
}

async function findRelease(plan: InstallPlan, client: DownloadClient, signal: AbortSignal): Promise<Release> {
  return plan.imageFile === undefined ? await resolveRelease(plan.release, client, signal) : plan.release;
}

interface VerifiedImage {
  readonly image: WrittenImage;
  readonly signedBy: SignedBy | undefined;
}

/** Writes all of the image but what makes it bootable, and returns when the signature is good. Starts over when the server replaced the image. */
async function writeVerified(plan: InstallPlan, disk: TargetDisk, surroundings: Surroundings): Promise<VerifiedImage> {
  return await withRestarts(plan.release, surroundings.report, (release) =>
    untilCommitted(disk, surroundings.signal, () => writeOnce({ ...plan, release }, disk, surroundings)),
  );
}

async function writeOnce(
  plan: InstallPlan,
  disk: TargetDisk,
  { client, report, signal }: Surroundings,
): Promise<VerifiedImage> {
  using source = await openImage(plan, client, report, signal);
  report.phase('write', `Writing ${source.origin} to ${disk.path}`);
  const onWarning = (message: string) => report.warn(message);
  const image = await writeImage(decompress(source.bytes, { signal, onWarning }), disk, {
    signal,
    readBack: plan.readBack,
  });
  report.detail(
    `${formatBytes(image.writtenBytes)} written, ${formatBytes(image.zeroedBytes)} zeroed by the disk itself`,
  );
  const signedBy = await source.verdict();
  if (signedBy !== undefined)
    report.phase(
      'verify',
      `Good signature by ${signedBy.signingFingerprint} (primary key ${signedBy.primaryFingerprint})`,
    );
  return { image, signedBy };
}

/** Whatever fails between the first change of the disk and its partition table leaves the disk without one; the error says so. */
async function untilCommitted<T>(disk: TargetDisk, signal: AbortSignal, action: () => Promise<T>): Promise<T> {
  try {
    return await action();
  } catch (cause) {
    throw await disk.abandon(cause, signal);
  }
}

/** Where that was asked for. */
async function readBack(image: WrittenImage, disk: TargetDisk, report: Report): Promise<void> {
  if (image.readBack === undefined) return;
  report.phase('verify', `Reading ${disk.path} back`);
  await image.readBack((doneBytes) => report.transferred(doneBytes, image.sizeBytes));
}

async function letKernelSee(disk: TargetDisk, report: Report): Promise<void> {
  report.phase('finish', `Reading the partition table of ${disk.path} again`);
  const reread = await disk.rereadPartitions();
  if (reread.how === 'failed')
    report.warn(`this system does not see the new partitions (${reread.why}); the disk is complete nevertheless`);
  else report.detail(`the partitions are known by ${reread.how}`);
}

async function addEfiEntry(disk: TargetDisk, release: Release, report: Report): Promise<void> {
  report.phase('finish', 'Adding a boot entry to the firmware');
  try {
    await createEfiEntry(disk, release);
  } catch (cause) {
    const why = `${reasonOf(cause)}; the disk itself is completely installed`;
    throw new InstallError({
      what: 'add a boot entry for',
      target: disk.path,
      why,
      hint: 'add it in the firmware setup or with efibootmgr',
      cause,
    });
  }
}
