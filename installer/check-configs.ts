import { reasonOf } from '../errors/reason.ts';
import { formatProblem } from './configure/ignition/check.ts';
import { assess, nameOfConfig, type Reader, readIgnitionFile } from './ignition-config.ts';

/** The result of one file, as `--json` shows it. */
export interface ConfigResult {
  readonly file: string;
  /** `unreadable` if there is no verdict. */
  readonly verdict: 'accept' | 'warn' | 'reject' | 'unreadable';
  readonly [detail: string]: unknown;
}

/**
 * Checks Ignition configs without a disk.
 * @param show gets each result, and the same as lines of text
 * @returns whether all of them can be read and are accepted
 */
export async function checkConfigs(
  paths: readonly string[],
  { flatcar, ignitionVersion }: Reader,
  show: (result: ConfigResult, lines: readonly string[]) => void,
  signal: AbortSignal,
): Promise<boolean> {
  let accepted = true;
  for (const path of paths) {
    const file = nameOfConfig(path);
    let bytes: Uint8Array;
    try {
      bytes = await readIgnitionFile(path, signal);
    } catch (error) {
      signal.throwIfAborted();
      accepted = false;
      show({ file, verdict: 'unreadable', message: reasonOf(error) }, [`${file}: ${reasonOf(error)}`]);
      continue;
    }
    const { check, doubts, ignition } = assess(bytes, { flatcar, ignitionVersion }, false);
    const { verdict, version, errors, warnings, advice } = check;
    accepted &&= verdict !== 'reject';
    const result = { file, verdict, version, ignition: ignition.version, errors, warnings, advice, doubts };
    const state = verdict === 'reject' ? 'rejected' : 'accepted';
    const format = version === undefined ? '' : `version ${version}, `;
    show(result, [
      `${file}: ${state} (${format}read by Ignition ${ignition.version})`,
      ...errors.map((problem) => `${file}: ${formatProblem(problem)}`),
      ...[...warnings, ...advice].map((problem) => `${file}: warning: ${formatProblem(problem)}`),
      ...doubts.map((doubt) => `${file}: warning: ${doubt}`),
    ]);
  }
  return accepted;
}
