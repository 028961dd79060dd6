import { createWriteStream } from 'node:fs';
import { open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { OperationError } from '../errors/operation-error.ts';
import { reasonOf } from '../errors/reason.ts';
import { refuseOlder } from './age.ts';
import { InstallError } from './errors.ts';
import { openImage } from './image.ts';
import type { InstallContext } from './install.ts';
import type { InstallPlan } from './plan.ts';
import { imageFileName, type Release, resolveRelease } from './release.ts';
import { restartIfChanged } from './restart.ts';
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
  const resolved = await resolveRelease(plan.release, client, signal);
  return await restartIfChanged(resolved, report, (release) =>
    downloadOnce({ ...plan, release, imageFile: undefined }, directory, context),
  );
}

async function downloadOnce(
  plan: InstallPlan,
  directory: string,
  { client, report, signal }: InstallContext,
): Promise<Downloaded> {
  const { release } = plan;
  const path = join(directory, imageFileName(release));
  const partial = `${path}.partial`;
  using image = await openImage(plan, client, report, signal);
  report.phase('download', `Downloading ${image.origin} to ${path}`);
  try {
    // Made anew: in a directory that others can write to, something else may have that name.
    await rm(partial, { force: true });
    await pipeline(image.bytes, createWriteStream(partial, { flags: 'wx', flush: true }), { signal });
    const signedBy = await image.verified();
    if (signedBy !== undefined) report.phase('verify', describeSigner(signedBy));
    refuseOlder(image.origin, plan.notOlderThan, { signedBy, version: undefined });
    await putInPlace(partial, path);
    return { path, release, signedBy };
  } catch (cause) {
    await rm(partial, { force: true }).catch(() => {});
    signal.throwIfAborted();
    if (cause instanceof OperationError) throw cause;
    throw new InstallError({ what: 'save', target: path, why: reasonOf(cause), cause });
  }
}

async function putInPlace(partial: string, path: string): Promise<void> {
  await rename(partial, path);
  await using directory = await open(dirname(path), 'r');
  await directory.sync();
}
