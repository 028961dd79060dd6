import { mkdtemp, rm, statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { reasonOf } from '../../errors/reason.ts';
import { ToolError } from '../../tools/run-tool.ts';
import { codeOf } from '../disk/in-use.ts';
import { ConfigurationError } from './errors.ts';

const nearlyFullBytes = 1024 * 1024;

/** Removed with everything in it when it is disposed of. */
export async function makeWorkDirectory(): Promise<AsyncDisposable & { readonly path: string }> {
  const path = await mkdtemp(join(tmpdir(), 'flatcar-install-'));
  return { path, [Symbol.asyncDispose]: () => rm(path, { recursive: true }) };
}

/**
 * Runs `work` with a directory that is removed afterwards. Files with holes take space as they are
 * written, and tools name no reason when there is none left.
 * @throws what `work` throws; {ConfigurationError} a tool or a write failed, and no space is left
 */
export async function inWorkDirectory<Result>(work: (path: string) => Promise<Result>): Promise<Result> {
  await using directory = await makeWorkDirectory();
  try {
    return await work(directory.path);
  } catch (cause) {
    const canBeFull = cause instanceof ToolError || codeOf(cause) === 'ENOSPC';
    throw canBeFull && (await isNearlyFull(directory.path)) ? refuseTemporary(cause) : cause;
  }
}

async function isNearlyFull(path: string): Promise<boolean> {
  const { bavail, bsize } = await statfs(path);
  return bavail * bsize < nearlyFullBytes;
}

/** Temporary files cannot be written, for this cause. */
export function refuseTemporary(cause: unknown): ConfigurationError {
  return new ConfigurationError({
    what: 'write temporary files to',
    target: tmpdir(),
    why: reasonOf(cause),
    hint: 'set TMPDIR to a directory that can be written to and has room',
    cause,
  });
}
