import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { hostArchitecture } from '../debian/architecture.ts';
import type { PackageSet } from '../debian/package.ts';
import { fingerprint, selectPackages } from '../debian/select.ts';
import { unpackOnce } from '../debian/unpack.ts';
import { runTool, type ToolOptions, type ToolOutput } from '../tools/run-tool.ts';
import { productLock } from './package-sets.ts';

/**
 * Tools of locked packages, which run on the build machine with the C library of these packages.
 */
export interface LockedTools<Tool extends string> {
  /** Of the versions: same versions, same key. */
  readonly key: string;
  /**
   * Runs a tool to its end.
   * @throws {ToolError} as {@link runTool}
   */
  run(tool: Tool, args: readonly string[], options?: ToolOptions): Promise<ToolOutput>;
  path(tool: Tool): string;
}

/**
 * Fetches the packages of a set and unpacks them into `cache`, unless they are there.
 * @param paths of the tools in the packages, as `usr/bin/mksquashfs`
 * @throws {Error} no mirror has a package
 */
export async function fetchLockedTools<Tool extends string>(
  set: PackageSet,
  paths: Readonly<Record<Tool, string>>,
  cache: string,
): Promise<LockedTools<Tool>> {
  const { debian: architecture, gnu, loader } = hostArchitecture;
  await mkdir(cache, { recursive: true });
  const selection = await selectPackages(set, { lockFile: productLock, architecture });
  const key = fingerprint(selection.packages);
  const root = join(cache, `${set.name}-${key.slice(0, 16)}`);
  await unpackOnce(selection.files.values(), root);
  return {
    key,
    path: (tool) => join(root, paths[tool]),
    run(tool, args, options = {}) {
      // The loader of the packages, without the libraries of the machine.
      const loading = ['--inhibit-cache', '--library-path', join(root, 'usr/lib', gnu), join(root, paths[tool])];
      const environment = { ...options.environment, LD_PRELOAD: undefined };
      return runTool(join(root, loader), [...loading, ...args], { ...options, environment });
    },
  };
}
