import { type Configuration, readConfiguration } from './configuration.ts';
import { checkVersionProof, rehearseWrite } from './configure/rehearsal.ts';
import { inspectRoom } from './configure/room.ts';
import { decompress } from './decompress/decompress.ts';
import { checkDisk } from './disk/device.ts';
import { isImageFile } from './disk/image-file.ts';
import type { SavedPartitions } from './disk/saved-partitions.ts';
import type { Disk } from './disk/select.ts';
import { readImageTable } from './disk/write.ts';
import { UnknownSignerError } from './errors.ts';
import { checkImageFile, imageFiles } from './image.ts';
import { openImageFile, requireImageFile } from './image-file.ts';
import { inspectFile } from './inspect-file.ts';
import type { InstallContext } from './install.ts';
import { createKeyRing, loadOpenpgp } from './key-ring.ts';
import type { InstallPlan } from './plan.ts';
import { keyFileSource } from './signing-key.ts';
import {
  chooseTarget,
  findPartitionsToSave,
  noteRenumberings,
  warnOfEarlierInstallations,
  warnOfMembers,
} from './target.ts';

type DryRunContext = Omit<InstallContext, 'client'>;

/**
 * Runs every check of an installation that needs neither network nor writes, with the same errors
 * and warnings, and says what it could not check.
 * @returns path of the disk that would be installed to; undefined for `-D`
 * @throws {InstallError}
 */
export async function dryRun(plan: InstallPlan, context: DryRunContext): Promise<string | undefined> {
  const { report, clock, signal } = context;
  const onFile = plan.target?.kind === 'device' && (await isImageFile(plan.target.path));
  if (plan.notOlderThan?.kind === 'version') await checkVersionProof(signal, onFile);
  const configuration = await readConfiguration(plan.configuration, undefined, report, signal, onFile);
  if (plan.imageFile === undefined) await checkRelease(plan, signal);
  else await requireImageFile(plan.imageFile);
  const noteUnchecked = (...further: readonly string[]) =>
    report.note(`Not checked: ${[...uncheckedBy(plan), ...further].join('; ')}`);
  if (plan.target === undefined) {
    noteUnchecked();
    return undefined;
  }
  const { minBytes, never, wipeMembers, fileBytes } = plan.target;
  const disk = await checkDisk(await chooseTarget(plan.target, context), {
    ...{ minBytes, never, file: { sizeBytes: fileBytes }, clock, signal },
  });
  if (!onFile) await warnOfEarlierInstallations(disk.path, context);
  const saved = await findPartitionsToSave(disk, plan.saved, report, signal);
  warnOfMembers(disk, saved, wipeMembers, report);
  if (plan.imageFile === undefined) {
    noteUnchecked();
  } else {
    const further = await checkSignatureBeside(plan, plan.imageFile, context);
    await checkImage(plan, plan.imageFile, disk, saved, configuration, context);
    noteUnchecked(...further);
  }
  return disk.path;
}

/** What can be refused of a release without a server. */
async function checkRelease(plan: InstallPlan, signal: AbortSignal): Promise<void> {
  imageFiles(plan);
  if (plan.keyFile === undefined) return;
  const source = keyFileSource(plan.keyFile, plan.keyFingerprint);
  await createKeyRing(await loadOpenpgp()).add(source, await source.read(signal));
}

/**
 * Whether the signature beside an image is by a trusted key.
 * @returns what only a server can say
 */
async function checkSignatureBeside(
  plan: InstallPlan,
  path: string,
  context: DryRunContext,
): Promise<readonly string[]> {
  try {
    await checkImageFile(plan, path, context);
    return [];
  } catch (error) {
    if (plan.offline || !(error instanceof UnknownSignerError)) throw error;
    return [`whether a server knows the key of ${path}.sig`];
  }
}

/** Only the start of the image is read: it has the partition table. */
async function checkImage(
  { zstdWindowBytes }: InstallPlan,
  path: string,
  disk: Disk,
  saved: SavedPartitions | undefined,
  { needs, way }: Configuration,
  { report, signal }: DryRunContext,
): Promise<void> {
  using image = await openImageFile(path, signal);
  const decoded = decompress(image.bytes, { signal, onWarning: report.warn, zstdWindowBytes, name: path });
  const table = await readImageTable(decoded, disk);
  saved?.requireRoomBeside(table);
  noteRenumberings(saved, table, report);
  await rehearseWrite(table, needs, way, signal);
  await inspectFile(path, inspectRoom(table, needs));
}

function uncheckedBy(plan: InstallPlan): string[] {
  const { imageFile, configuration, imageHash } = plan;
  const proof = imageHash === undefined ? 'its signature' : 'its hash';
  const image =
    imageFile === undefined
      ? `whether the server has the image, ${proof}, its size and its partitions`
      : 'the image after its partition table';
  const { ignitionUrl } = configuration;
  return ignitionUrl === undefined ? [image] : [image, `the Ignition config at ${ignitionUrl.href}`];
}
