import { createHash } from 'node:crypto';
import { mkdir, mkdtempDisposable, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { runTool, ToolError } from '../tools/run-tool.ts';
import { fetchFailures } from './apt-failures.ts';
import { isSecurityUpdate } from './apt-root.ts';
import type { Archive } from './archive.ts';
import { securityMirror } from './mirrors.ts';
import type { Package } from './package.ts';

/** Package files by the names of the packages, and what no mirror has. */
export interface Fetched {
  readonly files: ReadonlyMap<string, string>;
  readonly missing: readonly MissingPackage[];
  /** What apt said: one error for each mirror that lacks some. */
  readonly errors: readonly unknown[];
}

/** A package that no mirror has with the right checksum. */
export interface MissingPackage {
  readonly name: string;
  readonly version: string;
  /** One of each mirror: `http://mirror/debian: 404 Not Found`. */
  readonly reasons: readonly string[];
}

/**
 * Fetches package files from the mirrors, one mirror after the other, into `directory`. Files that
 * are there are used. Each is verified by its checksum; one with another checksum is not kept.
 */
export async function fetchPackages(
  packages: readonly Package[],
  directory: string,
  archive: Archive,
  signal: AbortSignal = new AbortController().signal,
): Promise<Fetched> {
  await mkdir(directory, { recursive: true });
  let missing = await notIn(directory, packages);
  const reasons = new Map(missing.map((one) => [one, [] as string[]]));
  const errors: unknown[] = [];
  const mirrors = missing.length > 0 ? await archive.mirrors() : [];
  for (const mirror of mirrors) {
    if (missing.length === 0) break;
    const error = await download(missing, mirror, directory, signal);
    if (error !== undefined) errors.push(error);
    missing = await notIn(directory, missing);
    const failures = error === undefined ? [] : fetchFailures(error);
    for (const one of missing) {
      const failure = failures.find(({ url }) => url === urlOf(one, mirror));
      reasons.get(one)?.push(`${mirror}: ${failure?.reason ?? 'not fetched'}`);
    }
  }
  const absent = new Set(missing);
  const files = packages.filter((one) => !absent.has(one)).map((one) => [one.name, fileIn(directory, one)] as const);
  return {
    files: new Map(files),
    missing: missing.map((one) => ({ name: one.name, version: one.version, reasons: reasons.get(one) ?? [] })),
    errors,
  };
}

/** `kmod 34.2-2 (http://mirror/debian: 404 Not Found)` */
export function describeMissing({ name, version, reasons }: MissingPackage): string {
  return `${name} ${version} (${reasons.join('; ') || 'no mirror is known'})`;
}

/**
 * Those that are not there. The name of a file says what it should be; its content is compared each
 * time, because a cache is shared and kept for long. A file with another content is removed.
 */
async function notIn(directory: string, packages: readonly Package[]): Promise<Package[]> {
  const present = new Set(await readdir(directory));
  const missing: Package[] = [];
  for (const one of packages) {
    const path = fileIn(directory, one);
    if (present.has(`${one.sha256}.deb`)) {
      if ((await digestOf(path)) === one.sha256) continue;
      await rm(path);
    }
    missing.push(one);
  }
  return missing;
}

async function digestOf(path: string): Promise<string> {
  return createHash('sha256')
    .update(await readFile(path))
    .digest('hex');
}

function fileIn(directory: string, one: Package): string {
  return join(directory, `${one.sha256}.deb`);
}

function urlOf(one: Package, mirror: string): string {
  return `${isSecurityUpdate(one.path) ? securityMirror(mirror) : mirror}/${one.path}`;
}

/** @returns apt's error if files are missing */
async function download(
  packages: readonly Package[],
  mirror: string,
  directory: string,
  signal: AbortSignal,
): Promise<ToolError | undefined> {
  await using scratch = await mkdtempDisposable(join(directory, 'arriving-'));
  const triples = packages.flatMap((one) => [
    urlOf(one, mirror),
    join(scratch.path, one.sha256),
    `SHA256:${one.sha256}`,
  ]);
  let failure: ToolError | undefined;
  try {
    // The sandbox user of apt cannot write into this directory.
    const options = ['--option=APT::Sandbox::User=root', 'download-file', ...triples];
    await runTool('/usr/lib/apt/apt-helper', options, {
      signal,
      timeoutSeconds: Number.POSITIVE_INFINITY,
      environment: { ...process.env, LC_ALL: 'C' }, // proxies
    });
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    failure = error; // some files may have arrived
  }
  for (const name of await readdir(scratch.path)) {
    const path = join(scratch.path, name);
    if ((await digestOf(path)) === name) await rename(path, join(directory, `${name}.deb`));
  }
  return failure;
}
