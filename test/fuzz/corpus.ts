import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const directoryOf = (target: string) => join(import.meta.dirname, 'corpus', target);

/** The inputs that are kept for a target, by name. */
export async function readCorpus(target: string): Promise<readonly Buffer[]> {
  const names = await readdir(directoryOf(target)).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return await Promise.all(names.sort().map((name) => readFile(join(directoryOf(target), name))));
}

const maxInputBytes = 1024;
const maxTargetBytes = 4 * 1024;

/** Adds inputs that reach new code, the shortest first, as far as there is room. */
export async function addToCorpus(target: string, inputs: readonly Buffer[]): Promise<number> {
  const directory = directoryOf(target);
  let sizeBytes = (await readCorpus(target)).reduce((sum, { length }) => sum + length, 0);
  let added = 0;
  await mkdir(directory, { recursive: true });
  for (const input of inputs.toSorted((a, b) => a.length - b.length)) {
    if (input.length > maxInputBytes || sizeBytes + input.length > maxTargetBytes) continue;
    await writeFile(join(directory, createHash('sha1').update(input).digest('hex').slice(0, 12)), input);
    sizeBytes += input.length;
    added++;
  }
  return added;
}
