import { randomBytes } from 'node:crypto';
import { constants, type FileHandle, lstat, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { OperationError } from '../errors/operation-error.ts';
import { reasonOf } from '../errors/reason.ts';
import { refuseOlder } from './age.ts';
import { InstallError } from './errors.ts';
import { describeVerified, downloadName, openImage } from './image.ts';
import type { InstallContext } from './install.ts';
import { type InstallPlan, isRelease } from './plan.ts';
import { type Release, resolveRelease } from './release.ts';
import { withGoodMirror } from './restart.ts';
import type { SignedBy } from './verify.ts';
import { describeHash } from './watch-hash.ts';

export interface Downloaded {
  readonly path: string;
  readonly release: Release;
  readonly imageUrl?: string | undefined;
  readonly signedBy: SignedBy | undefined;
  /** By which it was verified in place of a signature: `sha512-…`. */
  readonly hash: string | undefined;
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
  const resolved = isRelease(plan) ? await resolveRelease(plan.release, client, signal, report) : plan.release;
  return await withGoodMirror({ ...plan, release: resolved }, report, (release, onOrigin) =>
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
  const name = downloadName(plan);
  const path = join(directory, name);
  // A name that no other download has, and that was not placed before.
  const partial = join(directory, `.${name}.${randomBytes(9).toString('base64url')}.partial`);
  using image = await openImage(plan, client, report, signal);
  onOrigin(image.origin);
  report.phase('download', `Downloading ${image.origin} to ${path}`);
  try {
    await using file = await open(partial, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o600);
    await file.writeFile(image.bytes, { signal });
    const verified = await image.verified();
    const description = describeVerified(verified);
    if (description !== undefined) report.phase('verify', description);
    const { signedBy, hash } = verified;
    refuseOlder(image.origin, plan.notOlderThan, { signedBy, version: undefined });
    await putInPlace(file, partial, path);
    return { path, release, imageUrl: plan.imageUrl?.href, signedBy, hash: hash && describeHash(hash) };
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
