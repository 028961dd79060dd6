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
