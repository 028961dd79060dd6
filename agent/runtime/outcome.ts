import { constants } from 'node:os';
import type { Verdict } from '../action/action.ts';
import type { ExitInfo } from './container.ts';

/**
 * What engines give for a container whose exit code they do not have; it may also be the real one.
 */
const exitCodeOfLost = 255;

/**
 * When containerd starts, it deletes each task that has no process any more, and the exit code with
 * it: `shouldCleanupShim()` in its core/runtime/v2/shim_load.go. dockerd then reports 255.
 */
const lossOfExitCode =
  'containerd 1.7 and newer do not keep the exit code of a container that ends while containerd is down';

/** The result of an action by the exit of its container. */
export function verdictOf({ exitCode, timedOut }: ExitInfo): Verdict {
  if (timedOut) return 'TIMEOUT';
  return exitCode === 0 ? 'SUCCESS' : 'FAILED';
}

/**
 * One paragraph for people. Servers cut it, so what matters most is first: how it exited, the last
 * line of output, the lines before that.
 */
export function messageOf(exit: ExitInfo, limitSeconds: number): string {
  if (verdictOf(exit) === 'SUCCESS') return 'finished successfully';
  const how = [howItExited(exit, limitSeconds), ...circumstances(exit)].join(', ');
  const [last, ...before] = bounded(exit.lastLines.toReversed());
  const output = last === undefined ? 'no output' : last;
  const earlier = before.length === 0 ? '' : ` | before that: ${before.toReversed().join(' | ')}`;
  return `${how}: ${output}${earlier}`;
}

function howItExited(exit: ExitInfo, limitSeconds: number): string {
  const { timedOut, outOfMemory, exitCode, engineWasAway } = exit;
  if (timedOut) return `timed out after ${limitSeconds} s`;
  if (engineWasAway && exitCode === exitCodeOfLost) return `exit code ${exitCode}, or lost (${lossOfExitCode})`;
  if (outOfMemory) return `out of memory (exit code ${exitCode})`;
  const signal = signalOf(exitCode);
  return signal === undefined ? `exit code ${exitCode}` : `ended by ${signal} (exit code ${exitCode})`;
}

function circumstances({ engineError, engineWasAway }: ExitInfo): readonly string[] {
  return [
    ...(engineError === '' ? [] : [`engine error: ${engineError}`]),
    ...(engineWasAway ? ['the container engine was unavailable meanwhile'] : []),
  ];
}

/** Exit codes above 128 stand for signals, in engines as in shells. */
function signalOf(exitCode: number): string | undefined {
  return Object.entries(constants.signals).find(([, number]) => number === exitCode - 128)?.[0];
}

/** At most 1024 characters in all. */
function bounded(lines: readonly string[]): readonly string[] {
  let left = 1024;
  return lines.filter((line) => {
    left -= line.length;
    return left >= 0;
  });
}
