import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { type DebianArchitecture, Package, release } from './package.ts';

/** The packages of one architecture. */
const Locked = z.object({
  /** By the name of the set: what was asked for, and the names of all packages that it consists of. */
  sets: z.record(z.string(), z.object({ requested: z.array(z.string()), packages: z.array(z.string()) })),
  packages: z.array(Package),
});

const LockFile = z.object({
  release: z.string(),
  /** Not all files have all architectures. */
  architectures: z.object({ amd64: Locked.optional(), arm64: Locked.optional() }),
});

/** Which version of each package the products consist of. It is committed. */
export type LockFile = z.infer<typeof LockFile>;

/** What a lock file has for one architecture. */
export type Locked = z.infer<typeof Locked>;

/**
 * @returns undefined if there is no file
 * @throws {Error} the file is no lock file, or that of another release
 */
export async function readLockFile(path: string): Promise<LockFile | undefined> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });
  if (text === undefined) return undefined;
  const parsed = LockFile.safeParse(parseJson(text));
  if (!parsed.success) throw new Error(`${path} is no list of packages (run make update)`, { cause: parsed.error });
  if (parsed.data.release !== release)
    throw new Error(`${path} is of Debian ${parsed.data.release}, not ${release} (run make update)`);
  return parsed.data;
}

/** @returns undefined if it is no JSON, for example because it has conflict markers */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The architectures that a lock file has. */
export const architectures = ['amd64', 'arm64'] as const satisfies readonly DebianArchitecture[];
