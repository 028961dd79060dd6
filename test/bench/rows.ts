import { readFile, writeFile } from 'node:fs/promises';

/** One comparison, as the file named by BENCH_JSON has it. */
export interface Row {
  readonly bench: string;
  /** Of a comparison: `wall`, `cpu`, `peak_rss`, `bytes_written`; else what was measured. */
  readonly metric: string;
  readonly unit: 's' | 'bytes';
  readonly ours: number;
  /** `none`: nothing to compare with; then its value is ours. */
  readonly rival: string;
  readonly rivalValue: number;
  /** Ours divided by the rival's: below 1 is better. */
  readonly ratio: number;
}

/** The row of what has nothing to compare with. */
export function alone(bench: string, metric: string, unit: Row['unit'], ours: number): Row {
  return { bench, metric, unit, ours, rival: 'none', rivalValue: ours, ratio: 1 };
}

/**
 * Adds rows to the file named by BENCH_JSON, in place of those of the same benchmarks; does nothing
 * where there is no such variable.
 */
export async function writeRows(rows: readonly Row[]): Promise<void> {
  const path = process.env['BENCH_JSON'];
  if (!path) return;
  const earlier = await readFile(path, 'utf8').catch(() => '[]');
  const others = (JSON.parse(earlier) as Row[]).filter(({ bench }) => !rows.some((row) => row.bench === bench));
  await writeFile(path, `${JSON.stringify([...others, ...rows], undefined, 2)}\n`);
}
