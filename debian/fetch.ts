import { createHash } from 'node:crypto';
import { mkdir, mkdtempDisposable, readdir, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool, ToolError } from '../tools/run-tool.ts';
import { isSecurityUpdate } from './apt-root.ts';
import { debianMirrors, securityMirror } from './mirrors.ts';
import type { Package } from './package.ts';

/** Package files by the names of the packages, and what no mirror has. */
export interface Fetched {
  readonly files: ReadonlyMap<string, string>;
  readonly missing: readonly Package[];
  /** Why they are missing: one error for each mirror. */
  readonly errors: readonly unknown[];
}

/**
 * Fetches package files from the mirrors, one mirror after the other, into `directory`. Files that
 * are there are used. Each is verified by its checksum.
 */
export async function fetchPackages(
  packages: readonly Package[],
  directory: string,
  signal: AbortSignal = new AbortController().signal,
): Promise<Fetched> {
  await mkdir(directory, { recursive: true });
  let missing = await notIn(directory, packages);
  const errors: unknown[] = [];
  const mirrors = missing.length > 0 ? await debianMirrors() : [];
  for (const mirror of mirrors) {
    if (missing.length === 0) break;
    errors.push(...(await download(missing, mirror, directory, signal)));
    missing = await notIn(directory, missing);
  }
  if (missing.length > 0 && mirrors.length === 0) errors.push(new Error('no mirror of Debian is known'));
  const absent = new Set(missing);
  const files = packages.filter((one) => !absent.has(one)).map((one) => [one.name, fileIn(directory, one)] as const);
  return { files: new Map(files), missing, errors };
}

async function notIn(directory: string, packages: readonly Package[]): Promise<Package[]> {
  const present = new Set(await readdir(directory));
  return packages.filter((one) => !present.has(`${one.sha256}.deb`));
}

function fileIn(directory: string, one: Package): string {
  return join(directory, `${one.sha256}.deb`);
}

/** @returns why files are missing; empty if none is */
async function download(
  packages: readonly Package[],
  mirror: string,
  directory: string,
  signal: AbortSignal,
): Promise<unknown[]> {
  await using scratch = await mkdtempDisposable(join(directory, 'arriving-'));
  const triples = packages.flatMap((one) => {
    const archive = isSecurityUpdate(one.path) ? securityMirror(mirror) : mirror;
    return [`${archive}/${one.path}`, join(scratch.path, one.sha256), `SHA256:${one.sha256}`];
  });
  const errors: unknown[] = [];
  try {
    // The sandbox user of apt cannot write into this directory.
    const options = ['--option=APT::Sandbox::User=root', 'download-file', ...triples];
    await runTool('/usr/lib/apt/apt-helper', options, { signal, timeoutSeconds: Number.POSITIVE_INFINITY });
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    errors.push(error); // some files may have arrived
  }
  for (const name of await readdir(scratch.path)) {
    const path = join(scratch.path, name);
    const hasAll =
      createHash('sha256')
        .update(await readFile(path))
        .digest('hex') === name;
    if (hasAll) await rename(path, join(directory, `${name}.deb`));
  }
  return errors;
}
