import { readFile, writeFile } from 'node:fs/promises';
import { z } from 'zod';

/** What a section, or a part of one, has shown. A row of `TORTURE_JSON`. */
export interface Row {
  readonly section: string;
  readonly runs: number;
  readonly violations: number;
  readonly seed: number;
}

/** Runs a section and prints what it finds. */
export type RunSection = () => Promise<readonly Row[]>;

/** Settings from the environment; make exports a variable that is not set as an empty one. */
export function settingsFrom<Shape extends z.ZodRawShape>(shape: Shape): z.output<z.ZodObject<Shape>> {
  return z.object(shape).parse(Object.fromEntries(Object.entries(process.env).filter(([, value]) => value !== '')));
}

/** Adds rows to a file, which may be missing; those of the same section are replaced. */
export async function saveRows(path: string, rows: readonly Row[]): Promise<void> {
  const text = await readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return '[]';
    throw error;
  });
  const others = (JSON.parse(text) as Row[]).filter(({ section }) => rows.every((row) => row.section !== section));
  await writeFile(path, `${JSON.stringify([...others, ...rows], null, 2)}\n`);
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Prints a table with its columns aligned; the first row has the names of the columns. */
export function printTable(rows: readonly (readonly (string | number)[])[]): void {
  const texts = rows.map((row) => row.map(String));
  const widths = (texts[0] ?? []).map((_, column) => Math.max(...texts.map((row) => row[column]?.length ?? 0)));
  for (const row of texts)
    print(
      row
        .map((text, column) => text.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    );
}
