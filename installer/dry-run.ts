import { readConfiguration } from './configuration.ts';
import { checkDisk } from './disk/device.ts';
import { openImageFile } from './fetch/fetch.ts';
import type { InstallContext } from './install.ts';
import type { InstallPlan } from './plan.ts';
import { keyFileSource } from './signing-key.ts';
import { chooseTarget, findPartitionsToSave, warnOfEarlierInstallations, warnOfMembers } from './target.ts';

/**
 * Runs every check of an installation that needs neither network nor writes, with the same errors
 * and warnings.
 * @returns path of the disk that would be installed to; undefined for `-D`
 * @throws {InstallError}
 */
export async function dryRun(plan: InstallPlan, context: Omit<InstallContext, 'client'>): Promise<string | undefined> {
  const { report, clock, signal } = context;
  await readConfiguration(plan.configuration, undefined, report, signal);
  if (plan.imageFile !== undefined) (await openImageFile(plan.imageFile, signal))[Symbol.dispose]();
  else if (plan.keyFile !== undefined) await keyFileSource(plan.keyFile).read(signal);
  if (plan.target === undefined) return undefined;
  const { minBytes, never } = plan.target;
  const disk = await checkDisk(await chooseTarget(plan.target, context), { minBytes, never, clock, signal });
  warnOfMembers(disk, report);
  await warnOfEarlierInstallations(disk.path, context);
  await findPartitionsToSave(disk, plan.saved, report, signal);
  return disk.path;
}
