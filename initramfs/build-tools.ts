import { runTool } from '../tools/run-tool.ts';
import { fetchLockedTools, type LockedTools } from './locked-tools.ts';
import { toolPackages } from './package-sets.ts';

const paths = {
  busybox: 'usr/bin/busybox',
  depmod: 'usr/sbin/depmod',
  modinfo: 'usr/sbin/modinfo',
  mksquashfs: 'usr/bin/mksquashfs',
};

/**
 * The tools whose output is in the image and depends on their version. They are those of the locked
 * packages, so that the image does not depend on the release of the build machine. Its busybox
 * lists the commands that the one of the image has, which may be of another architecture.
 */
export type BuildTools = LockedTools<keyof typeof paths>;

/**
 * Fetches and unpacks the tools into `cache`, unless they are there.
 * @throws {Error} no mirror has a package
 */
export function fetchBuildTools(cache: string): Promise<BuildTools> {
  return fetchLockedTools(toolPackages, paths, cache);
}

/** The names of busybox's commands, without its own. */
export async function busyboxCommands(tools: BuildTools): Promise<string[]> {
  // A static program: a loader cannot start it.
  const { stdout } = await runTool(tools.path('busybox'), ['--list']);
  return stdout.split('\n').filter((name) => name !== 'busybox');
}
