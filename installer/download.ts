import { randomBytes } from 'node:crypto';
import { constants, type FileHandle, lstat, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { OperationError } from '../errors/operation-error.ts';
import { reasonOf } from '../errors/reason.ts';
import { refuseOlder } from './age.ts';
import { InstallError } from './errors.ts';
import { openImage } from './image.ts';
import type { InstallContext } from './install.ts';
import type { InstallPlan } from './plan.ts';
import { imageFileName, type Release, resolveRelease } from './release.ts';
import { withGoodMirror } from './restart.ts';
import { describeSigner, type SignedBy } from './verify.ts';

export interface Downloaded {
  readonly path: string;
  readonly release: Release;
  readonly signedBy: SignedBy | undefined;
}

/**
 * Downloads the image of the plan into a directory. The file gets its name only when it is complete
 * and its signature is verified.
 * @throws {InstallError} no file is left then
 */
export async function downloadImage(
  plan: InstallPlan,
  directory: string,
  context: InstallContext,
): Promise<Downloaded> {
  const { client, report, signal } = context;
  const resolved = await resolveRelease(plan.release, client, signal, report);
  return await withGoodMirror(resolved, report, (release, onOrigin) =>
    downloadOnce({ ...plan, release, imageFile: undefined }, directory, context, onOrigin),
  );
}

async function downloadOnce(
  plan: InstallPlan,
  directory: string,
  { client, report, signal }: InstallContext,
  onOrigin: (url: string) => void,
): Promise<Downloaded> {
  const { release } = plan;
  const path = join(directory, imageFileName(release));
  // A name that no other download has, and that was not placed before.
  const partial = join(directory, `.${imageFileName(release)}.${randomBytes(9).toString('base64url')}.partial`);
  using image = await openImage(plan, client, report, signal);
  onOrigin(image.origin);
  report.phase('download', `Downloading ${image.origin} to ${path}`);
  try {
    await using file = await open(partial, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    await file.writeFile(image.bytes, { signal });
    const signedBy = await image.verified();
    if (signedBy !== undefined) report.phase('verify', describeSigner(signedBy));
    refuseOlder(image.origin, plan.notOlderThan, { signedBy, version: undefined });
    await putInPlace(file, partial, path);
    return { path, release, signedBy };
  } catch (cause) {
    await rm(partial, { force: true }).catch(() => {});
    signal.throwIfAborted();
    if (cause instanceof OperationError) throw cause;
    throw new InstallError({ what: 'save', target: path, why: reasonOf(cause), cause });
  }
}

/** What was verified gets the name: not a file that was put in its place meanwhile. */
async function putInPlace(file: FileHandle, partial: string, path: string): Promise<void> {
  await file.sync();
  const [own, named] = [await file.stat(), await lstat(partial)];
  if (named.dev !== own.dev || named.ino !== own.ino) {
    throw new InstallError({
      what: 'save',
      target: path,
      why: 'another file was put in the place of the download',
      hint: 'download to a directory that only you can write to',
    });
  }
  await rename(partial, path);
  await using directory = await open(dirname(path), 'r');
  await directory.sync();
}
