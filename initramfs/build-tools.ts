import { fetchLockedTools, type LockedTools } from './locked-tools.ts';
import { toolPackages } from './package-sets.ts';

const paths = { depmod: 'usr/sbin/depmod', modinfo: 'usr/sbin/modinfo', mksquashfs: 'usr/bin/mksquashfs' };

/**
 * The tools whose output is in the image and depends on their version. They are those of the locked
 * packages, so that the image does not depend on the release of the build machine.
 */
export type BuildTools = LockedTools<keyof typeof paths>;

/**
 * Fetches and unpacks the tools into `cache`, unless they are there.
 * @throws {Error} no mirror has a package
 */
export function fetchBuildTools(cache: string): Promise<BuildTools> {
  return fetchLockedTools(toolPackages, paths, cache);
}
