import type { DiskFault } from './disks.ts';
import { type Ended, type Machine, publish, type Variant } from './machine.ts';
import { type Expected, type State, stateOf } from './states.ts';

/** One installation with one fault at one point. */
export interface Cell {
  /** For people. */
  readonly point: string;
  readonly variant: Variant;
  readonly diskFault?: DiskFault;
  /** Prepares the mirror. */
  readonly arrange?: (machine: Machine) => void;
  /** Default: `Machine.run`. */
  readonly run?: (machine: Machine, variant: Variant) => Promise<Ended>;
  /**
   * - success: the fault does no harm.
   * - failure: it must be reported.
   * - either: it depends on the point. The message must be right.
   * - killed: also by a signal, without a word.
   */
  readonly ends: 'success' | 'failure' | 'either' | 'killed';
  /** Of the message of a failure: the reason in words. */
  readonly says: RegExp;
  /** Whether the disk does what it gets. Default: true. */
  readonly isDiskGood?: boolean;
  /** What an installation writes with this fault. Default: the release of the variant. */
  readonly expected?: Expected;
}

export interface CellResult {
  /** What is wrong; empty if nothing is. */
  readonly violations: readonly string[];
  readonly runs: number;
  readonly state: string;
  readonly ended: Ended;
}

/** Runs a cell, and a second time without the fault if the first did not succeed. */
export async function runCell(machine: Machine, cell: Cell, expected: Expected): Promise<CellResult> {
  const { variant, diskFault } = cell;
  const violations: string[] = [];
  await machine.prepare(variant);
  machine.disks.begin(machine.targetOf(variant), diskFault);
  cell.arrange?.(machine);
  const ended = await (cell.run?.(machine, variant) ?? machine.run(variant));
  machine.disks.repair();
  const state = stateOf(machine.diskOf(variant).content, variant, cell.expected ?? expected);
  if (typeof state === 'string') violations.push(...judge(cell, ended, state));
  else violations.push(`the disk: ${state.wrong}`);
  violations.push(...(await changedOthers(machine, variant)));
  const shown = typeof state === 'string' ? state : 'wrong';
  if (ended.exitCode === 0) return { violations, runs: 1, state: shown, ended };
  violations.push(...(await runAgain(machine, variant, expected)));
  return { violations, runs: 2, state: shown, ended };
}

const orderly: readonly State[] = ['as it was', 'no table', 'only the kept partition'];
const left = /the disk was left (without a partition table|with only the saved partitions) and will not boot/;
const notRemoved = /the partition table could not be removed either; do not boot from this disk/;

/** Whether the end of the program, its words and the disk belong together. */
function judge({ ends, says, isDiskGood = true }: Cell, { exitCode, output }: Ended, state: State): string[] {
  const wrong = (what: string) => [`${what}; the disk is ${state}; exit code ${exitCode}: ${output}`];
  if (exitCode === undefined) return ends === 'killed' ? [] : wrong('it was ended by a signal');
  if (exitCode === 0) {
    if (ends === 'failure') return wrong('it reports success');
    return state === 'installed' ? [] : wrong('it reports success, but the image is not on the disk');
  }
  if (exitCode !== 1) return wrong('it has another exit code than 0 and 1');
  if (ends === 'success') return wrong('it fails');
  if (!says.test(output)) return wrong(`it does not say ${says}`);
  if (isDiskGood && !orderly.includes(state)) return wrong('the disk was not left in order');
  if (notRemoved.test(output)) return isDiskGood ? wrong('a disk that works is called broken') : [];
  if (!orderly.includes(state)) return wrong('it does not say that the disk must not be booted from');
  if (left.test(output) !== (state !== 'as it was')) return wrong('it does not say what the disk was left as');
  return [];
}

/** The disks that are not installed to. Their bytes are compared after each fault. */
async function changedOthers(machine: Machine, variant: Variant): Promise<string[]> {
  const target = machine.targetOf(variant);
  const changes = (await machine.disks.operations()).filter(([disk, { kind }]) => disk !== target && kind !== 'flush');
  return [...new Set(changes.map(([disk]) => `the disk ${machine.disks.disks[disk]?.path} was written to`))];
}

/** On the disk as it is, without the fault. */
export async function runAgain(machine: Machine, variant: Variant, expected: Expected): Promise<string[]> {
  machine.mirror.clear();
  publish(machine.mirror, machine.releaseFor(variant));
  const { exitCode, output } = await machine.run(variant);
  if (exitCode !== 0) return [`the second run fails: ${output}`];
  const state = stateOf(machine.diskOf(variant).content, variant, expected);
  if (state === 'installed') return [];
  return [`after the second run the disk is ${typeof state === 'string' ? state : state.wrong}`];
}
