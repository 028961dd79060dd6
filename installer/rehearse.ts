import { readConfiguration } from './configuration.ts';
import { checkDisk } from './disk/device.ts';
import { openImageFile } from './fetch/fetch.ts';
import type { Surroundings } from './install.ts';
import type { InstallPlan } from './plan.ts';
import { keyFileSource } from './signing-key.ts';
import { chooseTarget, findPartitionsToSave, warnOfEarlierInstallations } from './target.ts';

/**
 * Does of an installation what changes nothing and needs no network: whatever would be refused or warned of is refused or warned of now.
 * @returns the disk that would be installed to; undefined where the plan is to download only
 * @throws {InstallError}
 */
export async function rehearse(
  plan: InstallPlan,
  surroundings: Omit<Surroundings, 'client'>,
): Promise<string | undefined> {
  const { report, clock, signal } = surroundings;
  await readConfiguration(plan.configuration, undefined, report, signal);
  if (plan.imageFile !== undefined) (await openImageFile(plan.imageFile, signal))[Symbol.dispose]();
  else if (plan.keyFile !== undefined) await keyFileSource(plan.keyFile).read(signal);
  if (plan.target === undefined) return undefined;
  const { minimumBytes } = plan.target;
  const disk = await checkDisk(await chooseTarget(plan.target, clock, signal), { minimumBytes, clock, signal });
  await warnOfEarlierInstallations(disk.path, surroundings);
  await findPartitionsToSave(disk, plan.savedLabels, report, signal);
  return disk.path;
}
