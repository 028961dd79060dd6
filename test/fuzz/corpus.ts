import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const directoryOf = (target: string) => join(import.meta.dirname, 'corpus', target);

/** The name of an input that the fuzzer has found; inputs that were made have other names. */
const foundName = /^[0-9a-f]{12}$/;

/** Inputs in the repository. */
export interface Corpus {
  readonly made: readonly Buffer[];
  readonly found: readonly Buffer[];
}

/** The inputs that are kept for a target, by name. */
export async function readCorpus(target: string): Promise<Corpus> {
  const names = (await namesIn(directoryOf(target))).sort();
  const read = async (some: readonly string[]) =>
    await Promise.all(some.map((name) => readFile(join(directoryOf(target), name))));
  return {
    made: await read(names.filter((name) => !foundName.test(name))),
    found: await read(names.filter((name) => foundName.test(name))),
  };
}

/** Replaces the inputs that were found. */
export async function writeCorpus(target: string, found: readonly Buffer[]): Promise<void> {
  const directory = directoryOf(target);
  for (const name of await namesIn(directory)) if (foundName.test(name)) await rm(join(directory, name));
  if (found.length > 0) await mkdir(directory, { recursive: true });
  for (const input of found) {
    const name = createHash('sha1').update(input).digest('hex').slice(0, 12);
    await writeFile(join(directory, name), input);
  }
}

async function namesIn(directory: string): Promise<string[]> {
  return await readdir(directory).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
}
