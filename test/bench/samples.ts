import { readdir, readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Row } from './rows.ts';

/** One run that was measured. */
export interface Sample {
  readonly wallSeconds: number;
  readonly cpuSeconds: number;
  readonly peakBytes: number;
  readonly writtenBytes: number;
}

/**
 * Adds up what time(1) wrote since the last call.
 * @param work directory of its files, `NAME.time`, with the format `%U %S %M`
 */
export async function takeTimes(work: string): Promise<Pick<Sample, 'cpuSeconds' | 'peakBytes'>> {
  let [cpuSeconds, peakBytes] = [0, 0];
  for (const name of (await readdir(work)).filter((file) => file.endsWith('.time'))) {
    const line = (await readFile(join(work, name), 'utf8')).trim().split('\n').at(-1) ?? '';
    const [user = Number.NaN, system = 0, peakKibibytes = 0] = line.split(' ').map(Number);
    cpuSeconds += user + system;
    peakBytes += peakKibibytes * 1024;
    await rm(join(work, name));
  }
  return { cpuSeconds, peakBytes };
}

/** Each figure's median of its own: what else runs on the machine disturbs them separately. */
export function median(samples: readonly Sample[]): Sample {
  const middle = (figure: (sample: Sample) => number) =>
    samples.map(figure).sort((a, b) => a - b)[Math.floor((samples.length - 1) / 2)] ?? Number.NaN;
  return {
    wallSeconds: middle((sample) => sample.wallSeconds),
    cpuSeconds: middle((sample) => sample.cpuSeconds),
    peakBytes: middle((sample) => sample.peakBytes),
    writtenBytes: middle((sample) => sample.writtenBytes),
  };
}

/** Rows of one way beside all that are not ours. */
export function compare(bench: string, medians: Readonly<Record<string, Sample>>, name: string): Row[] {
  const own = medians[name];
  if (own === undefined) return [];
  return Object.entries(medians)
    .filter(([rival]) => !rival.startsWith('ours'))
    .flatMap(([rival, sample]) => {
      const row = (metric: string, unit: Row['unit'], ours: number, rivalValue: number) => ({
        ...{ bench, metric, unit, ours, rival, rivalValue },
        ratio: ours / rivalValue,
      });
      return [
        row('wall', 's', own.wallSeconds, sample.wallSeconds),
        row('cpu', 's', own.cpuSeconds, sample.cpuSeconds),
        row('peak_rss', 'bytes', own.peakBytes, sample.peakBytes),
        row('bytes_written', 'bytes', own.writtenBytes, sample.writtenBytes),
      ];
    });
}
