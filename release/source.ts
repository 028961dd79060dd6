import { join, resolve } from 'node:path';
import { z } from 'zod';
import { OperationError } from '../errors/operation-error.ts';
import { productVersion, sourceCommit } from '../executable/source-version.ts';
import { runTool, ToolError } from '../tools/run-tool.ts';

const root = resolve(import.meta.dirname, '..');

/** What a release is made of. */
export interface Source {
  /** Semantic version without build metadata, which a tag of an image cannot have. */
  readonly version: string;
  /** As `--version` shows it: 12 digits, with `-dirty` if the sources differ from the commit. */
  readonly commit: string;
  /** All 40 digits; `unknown` outside a git checkout. */
  readonly fullCommit: string;
  /** Seconds since 1970: SOURCE_DATE_EPOCH, or else the time of the commit. */
  readonly timeSeconds: number;
}

/**
 * @param version default: that of package.json
 * @throws {OperationError} it is no version
 */
export async function readSource(version?: string): Promise<Source> {
  const chosen = version ?? (await productVersion());
  if (!/^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$/.test(chosen))
    throw new OperationError({
      what: 'release',
      target: `the version ${chosen}`,
      why: 'it is no semantic version',
      hint: 'give VERSION=1.2.3 or VERSION=1.2.3-rc.1',
    });
  const [fullCommit = 'unknown', commitTime = '0'] = (await git('log', '-1', '--format=%H %ct')).split(' ');
  const given = process.env['SOURCE_DATE_EPOCH'];
  const timeSeconds = z.coerce
    .number()
    .int()
    .nonnegative()
    .parse(given ?? commitTime);
  return { version: chosen, commit: await sourceCommit(), fullCommit, timeSeconds };
}

/** @returns its output; nothing outside a git checkout */
async function git(...args: readonly string[]): Promise<string> {
  try {
    return (await runTool('git', args, { workingDirectory: root })).stdout;
  } catch (error) {
    if (error instanceof ToolError) return 'unknown 0';
    throw error;
  }
}

/** Paths of files that pin what is fetched, relative to the repository. */
export const lockFiles: readonly string[] = ['package-lock.json', 'initramfs/packages.lock.json'];

/** @param path relative to the repository */
export function inRepository(path: string): string {
  return join(root, path);
}
