import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { DebianArchitecture } from '../debian/package.ts';
import { fingerprint, selectPackages } from '../debian/select.ts';
import { unpackOnce } from '../debian/unpack.ts';
import { runTool, type ToolOptions, type ToolOutput } from '../tools/run-tool.ts';
import { productLock, toolPackages } from './package-sets.ts';

/**
 * The tools whose output is in the image and depends on their version. They are those of the locked
 * packages, so that the image does not depend on the release of the build machine.
 */
export interface BuildTools {
  /** Of the versions: same versions, same key. */
  readonly key: string;
  /**
   * Runs a tool to its end.
   * @throws {ToolError} as {@link runTool}
   */
  run(tool: keyof typeof paths, args: readonly string[], options?: ToolOptions): Promise<ToolOutput>;
}

interface Host {
  readonly architecture: DebianArchitecture;
  /** Where the packages have their libraries. */
  readonly libraries: string;
  readonly loader: string;
}

const hosts: Readonly<Partial<Record<NodeJS.Architecture, Host>>> = {
  x64: {
    architecture: 'amd64',
    libraries: 'usr/lib/x86_64-linux-gnu',
    loader: 'usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2',
  },
  arm64: {
    architecture: 'arm64',
    libraries: 'usr/lib/aarch64-linux-gnu',
    loader: 'usr/lib/aarch64-linux-gnu/ld-linux-aarch64.so.1',
  },
};

const paths = { depmod: 'usr/sbin/depmod', modinfo: 'usr/sbin/modinfo', mksquashfs: 'usr/bin/mksquashfs' };

/**
 * Fetches and unpacks the tools into `cache`, unless they are there. They run with their own C
 * library.
 * @throws {Error} no mirror has a package
 */
export async function fetchBuildTools(cache: string): Promise<BuildTools> {
  const host = hosts[process.arch];
  if (host === undefined) throw new Error(`no build tools are locked for ${process.arch} (initramfs/build-tools.ts)`);
  await mkdir(cache, { recursive: true });
  const selection = await selectPackages(toolPackages, { lockFile: productLock, architecture: host.architecture });
  const key = fingerprint(selection.packages);
  const root = join(cache, `tools-${key.slice(0, 16)}`);
  await unpackOnce(selection.files.values(), root);
  return {
    key,
    run(tool, args, options = {}) {
      // The loader of the packages, without the libraries of the machine.
      const loading = ['--inhibit-cache', '--library-path', join(root, host.libraries), join(root, paths[tool])];
      const environment = { ...options.environment, LD_PRELOAD: undefined };
      return runTool(join(root, host.loader), [...loading, ...args], { ...options, environment });
    },
  };
}
