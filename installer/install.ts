import { stat } from 'node:fs/promises';
import type { Clock } from '../clock/clock.ts';
import { reasonOf } from '../errors/reason.ts';
import { isSameVersion, isVersion, refuseOlder } from './age.ts';
import { type Configuration, checkForRelease, readConfiguration, writeConfiguration } from './configuration.ts';
import { createEfiEntry, type KnownPartitions } from './configure/efi.ts';
import { sweepPartitionMounts } from './configure/mount.ts';
import { checkVersionProof, rehearseWrite } from './configure/rehearsal.ts';
import { inspectRoom } from './configure/room.ts';
import { readWrittenVersion } from './configure/written-version.ts';
import { decompress } from './decompress/decompress.ts';
import { openDisk } from './disk/device.ts';
import type { PartitionTable } from './disk/gpt.ts';
import { isImageFile } from './disk/image-file.ts';
import { readPartitionGuids } from './disk/partition-guids.ts';
import { listDisks } from './disk/select.ts';
import type { TargetDisk } from './disk/target-disk.ts';
import { type WrittenImage, writeImage } from './disk/write.ts';
import { InstallError } from './errors.ts';
import type { DownloadClient } from './fetch/client.ts';
import { describeVerified, openImage, type Verified } from './image.ts';
import { inspectFile } from './inspect-file.ts';
import { type InstallPlan, isRelease, nameOfOwnImage, type Target } from './plan.ts';
import { formatBytes, type Report } from './progress.ts';
import { type Release, resolveRelease } from './release.ts';
import { withGoodMirror } from './restart.ts';
import {
  chooseTarget,
  findPartitionsToSave,
  noteRenumberings,
  warnOfEarlierInstallations,
  warnOfMembers,
} from './target.ts';
import type { SignedBy } from './verify.ts';
import { describeHash } from './watch-hash.ts';
import { readBack, rescanTable, untilCommitted } from './write-steps.ts';

/** What an installation uses besides the disk. */
export interface InstallContext {
  readonly client: DownloadClient;
  readonly report: Report;
  readonly clock: Clock;
  /** Aborting it leaves the disk unchanged, without a partition table, or completely installed. */
  readonly signal: AbortSignal;
}

export interface Installed {
  /** Path of the device itself, not of a link to it. */
  readonly disk: string;
  /** What was asked for; `version` is never `current`, and what the server says that it is. */
  readonly release: Release;
  /** As the installed image says; `undefined` if that cannot be read. */
  readonly provenVersion: string | undefined;
  readonly imageFile?: string | undefined;
  readonly imageBytes: number;
  readonly writtenBytes: number;
  readonly zeroedBytes: number;
  readonly imageUrl?: string | undefined;
  /** Undefined for an image without a signature. */
  readonly signedBy: SignedBy | undefined;
  /** By which it was verified in place of a signature: `sha512-…`. */
  readonly hash: string | undefined;
}

/**
 * Carries out the plan. Before the disk is changed, the configs are checked and the image and its
 * signature are found. The disk can boot only when the image is verified and configured.
 * @throws {InstallError} with the state of the disk if it was changed
 */
export async function install(
  plan: InstallPlan & { readonly target: Target },
  context: InstallContext,
): Promise<Installed> {
  const { client, report, signal } = context;
  await sweepPartitionMounts();
  const onFile = plan.target.kind === 'device' && (await isImageFile(plan.target.path));
  if (plan.notOlderThan?.kind === 'version') await checkVersionProof(signal, onFile);
  const configuration = await readConfiguration(plan.configuration, client, report, signal, onFile);
  await refuseSource(plan);
  await using disk = await openTarget(plan.target, context);
  if (!plan.zeroOffload) disk.disableZeroOffload();
  if (!disk.isFile) await warnOfEarlierInstallations(disk.path, context);
  const known = plan.configuration.uefiEntry ? await readKnownPartitions(disk, context) : undefined;
  disk.save(await findPartitionsToSave(disk, plan.saved, report, signal));
  disk.erase(warnOfMembers(disk, disk.saved, plan.target.wipeMembers, report));
  const release = await findRelease(plan, context);
  checkForRelease(configuration, plan.configuration, release, report);

  const { image, verified } = await writeVerified({ ...plan, release }, configuration, disk, context);
  let version: string | undefined;
  await untilCommitted(disk, signal, async () => {
    await readBack(image, disk, report);
    version = await checkVersion({ ...plan, release }, verified.signedBy, disk);
    await writeConfiguration(disk, configuration, report, signal);
    signal.throwIfAborted();
    report.phase('commit', `Writing the partition table of ${disk.path}`);
    await image.commit();
  });

  // From here on the disk can boot. An interrupt must not report it as failed.
  if (plan.reread && !disk.isFile) await rescanTable(disk, report);
  if (known !== undefined) await addEfiEntry(disk, release, known, report);
  const { sizeBytes: imageBytes, writtenBytes, zeroedBytes } = image;
  return {
    ...{ disk: disk.path, release, provenVersion: version, imageFile: plan.imageFile, imageUrl: plan.imageUrl?.href },
    ...{ signedBy: verified.signedBy, hash: verified.hash && describeHash(verified.hash) },
    ...{ imageBytes, writtenBytes, zeroedBytes },
  };
}

/** Claims the disk that the plan names, or the smallest unused one, without changing it. */
async function openTarget(target: Target, context: InstallContext): Promise<TargetDisk> {
  const { report, clock, signal } = context;
  const path = await chooseTarget(target, context);
  if (target.kind === 'smallest') report.note(`Selected ${path}, the smallest unused disk`);
  const { minBytes, never, fileBytes } = target;
  return await openDisk(path, { minBytes, never, file: { sizeBytes: fileBytes }, clock, signal });
}

/** A file that is read while it is written. */
async function refuseSource({ imageFile, target }: InstallPlan): Promise<void> {
  if (imageFile === undefined || target?.kind !== 'device') return;
  const [image, disk] = await Promise.all([imageFile, target.path].map((path) => stat(path).catch(() => undefined)));
  if (image === undefined || disk === undefined || image.dev !== disk.dev || image.ino !== disk.ino) return;
  throw new InstallError({
    what: 'install to',
    target: target.path,
    why: 'it is the image itself',
    hint: 'give another file with -d',
  });
}

async function findRelease(plan: InstallPlan, { client, signal, report }: InstallContext): Promise<Release> {
  return isRelease(plan) ? await resolveRelease(plan.release, client, signal, report) : plan.release;
}

interface VerifiedImage {
  readonly image: WrittenImage;
  readonly verified: Verified;
}

/**
 * Writes all of the image but its first MiB, and returns when the signature is verified. Starts
 * over if the server replaced the image, and goes on with another mirror if what came is not good.
 */
async function writeVerified(
  plan: InstallPlan,
  configuration: Configuration,
  disk: TargetDisk,
  context: InstallContext,
): Promise<VerifiedImage> {
  return await withGoodMirror(plan, context.report, (release, onOrigin) =>
    untilCommitted(disk, context.signal, () => writeOnce({ ...plan, release }, configuration, disk, context, onOrigin)),
  );
}

async function writeOnce(
  plan: InstallPlan,
  { needs, way }: Configuration,
  disk: TargetDisk,
  { client, report, signal }: InstallContext,
  onOrigin: (url: string) => void,
): Promise<VerifiedImage> {
  using source = await openImage(plan, client, report, signal);
  onOrigin(source.origin);
  report.phase('write', `Writing ${source.origin} to ${disk.path}`);
  const onWarning = (message: string) => report.warn(message);
  const { readBack, zstdWindowBytes } = plan;
  const { origin: name, isVerified: isSigned } = source;
  const decoded = decompress(source.bytes, { signal, onWarning, zstdWindowBytes, isSigned, name });
  const onTable = async (table: PartitionTable) => {
    noteRenumberings(disk.saved, table, report);
    await rehearseWrite(table, needs, way, signal);
    const inspections = inspectRoom(table, needs);
    if (plan.imageFile !== undefined) await inspectFile(plan.imageFile, inspections);
    return inspections;
  };
  const image = await writeImage(decoded, disk, { signal, readBack, onTable });
  report.detail(
    `${formatBytes(image.writtenBytes)} written, ${formatBytes(image.zeroedBytes)} zeroed by the disk itself`,
  );
  const verified = await source.verified();
  const description = describeVerified(verified);
  if (description !== undefined) report.phase('verify', description);
  return { image, verified };
}

/**
 * A mirror can serve an old image, whose signature is good, under the name of a new one.
 * @returns the version that the image on the disk says it is; `undefined` if that cannot be read
 * @throws {InstallError} it is another version than was asked for, or an older one than is accepted
 */
async function checkVersion(
  plan: InstallPlan,
  signedBy: SignedBy | undefined,
  disk: TargetDisk,
): Promise<string | undefined> {
  const { release, notOlderThan } = plan;
  const isAsked = isRelease(plan) || notOlderThan?.kind === 'version';
  const read = isAsked ? await readWrittenVersion(disk) : undefined;
  const version = read !== undefined && isVersion(read) ? read : undefined;
  const target = nameOfOwnImage(plan) ?? `the image of ${release.version}`;
  if (isRelease(plan) && version !== undefined && !isSameVersion(version, release.version)) {
    throw new InstallError({
      what: 'install',
      target,
      why: `the server sent version ${version} in its place`,
      hint: `use another mirror, or give -V ${version} if that is wanted`,
    });
  }
  refuseOlder(target, notOlderThan, { signedBy, version });
  return version;
}

/** Before the disk is changed: afterwards nothing tells which boot entries were of it. */
async function readKnownPartitions(disk: TargetDisk, { clock, signal }: InstallContext): Promise<KnownPartitions> {
  const disks = await listDisks(clock, signal);
  const others = disks.filter(({ path, type, sizeBytes }) => path !== disk.path && type === 'disk' && sizeBytes > 0);
  return { former: await readPartitionGuids([disk]), others: await readPartitionGuids(others) };
}

async function addEfiEntry(disk: TargetDisk, release: Release, known: KnownPartitions, report: Report): Promise<void> {
  report.phase('finish', 'Adding a boot entry to the firmware');
  try {
    await createEfiEntry(disk, release, known);
  } catch (cause) {
    const why = `${reasonOf(cause)}; the installation itself is complete`;
    throw new InstallError({
      what: 'add a boot entry for',
      target: disk.path,
      why,
      hint: 'add it in the firmware setup or with efibootmgr',
      cause,
    });
  }
}
