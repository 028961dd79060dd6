import type { LedgerEntry } from '../../sandbox/ledger.ts';
import type { TinkEvent } from '../../sandbox/tink-server/server.ts';
import { BAD } from './settings.ts';

/** All that is known of a run at its end. */
export interface KillRun {
  /** Names in the order of the workflow. */
  readonly actions: readonly string[];
  readonly interrupted: 'rerun' | 'fail';
  readonly ledger: readonly LedgerEntry[];
  /** What the server has recorded, oldest first. */
  readonly events: readonly TinkEvent[];
}

/** The invariants of the agent that were violated in a run, in words. */
export function findViolations(run: KillRun): string[] {
  return [...checkStarts(run), ...checkReports(run), ...checkReboot(run)];
}

/**
 * What ended does not run again, what still runs is not started again, and the policy `fail` starts
 * nothing twice in any case.
 */
function checkStarts({ ledger, interrupted }: KillRun): string[] {
  const violations: string[] = [];
  const journalled = new Set<string>();
  const started = new Set<string>();
  let alive = new Set<string>();
  for (const entry of ledger) {
    if (entry.what === 'journalled') journalled.add(entry.action);
    if (entry.what === 'power cut') alive = new Set();
    if (entry.what !== 'started') continue;
    const { action } = entry;
    if (journalled.has(action)) violations.push(`${action} ran again after its end was journalled`);
    if (alive.has(action)) violations.push(`${action} was started twice, and no power cut lay in between`);
    if (interrupted === 'fail' && started.has(action))
      violations.push(`${action} was started twice, against the policy`);
    alive.add(action);
    started.add(action);
  }
  return violations;
}

/**
 * One start and one end of each action up to the first that failed, in order, with the verdict of
 * its container or of the policy.
 */
function checkReports(run: KillRun): string[] {
  const seen = run.events.map(({ progress, actionName }) => `${progress} ${actionName}`);
  const expected: string[] = [];
  for (const action of run.actions) {
    const [first, ...others] = verdictsOf(run, action);
    const verdict = others.find((other) => seen.includes(`${other} ${action}`)) ?? first;
    expected.push(`RUNNING ${action}`, `${verdict} ${action}`);
    if (verdict === 'FAILED') break;
  }
  return seen.join() === expected.join()
    ? []
    : [`the server has recorded ${seen.join()} instead of ${expected.join()}`];
}

type Verdict = 'SUCCESS' | 'FAILED';

/**
 * The verdicts that an action may have: two when the agent was killed while it recorded an end,
 * because that may or may not be on the disk.
 */
function verdictsOf({ ledger, interrupted }: KillRun, action: string): [Verdict, ...Verdict[]] {
  if (action.startsWith(BAD)) return ['FAILED'];
  if (interrupted === 'rerun') return ['SUCCESS'];
  const verdictAt = (end: number): Verdict => (wasLost(ledger.slice(0, end), action) ? 'FAILED' : 'SUCCESS');
  const indexesOf = (what: LedgerEntry['what']) =>
    ledger.flatMap((entry, index) =>
      entry.what === what && 'action' in entry && entry.action === action ? [index] : [],
    );
  const [recorded = ledger.length] = indexesOf('journalled');
  const mayBeRecorded = indexesOf('journalling').filter((index) => index < recorded);
  return [verdictAt(recorded), ...mayBeRecorded.map(verdictAt)];
}

/**
 * Whether the policy `fail` had to decide: the action was about to start when the agent was killed,
 * and it had no container when its end was recorded, which is the end of this part of the ledger.
 */
function wasLost(ledger: readonly LedgerEntry[], action: string): boolean {
  const start = ledger.findLastIndex((entry) => entry.what === 'started' && entry.action === action);
  const cut = ledger.findLastIndex((entry) => entry.what === 'power cut');
  if (start > cut) return false;
  return ledger.some((entry) => entry.what === 'killed') || cut >= 0;
}

/**
 * The machine reboots at most once, and after the last acknowledgement; and always, unless the
 * agent was killed after it had recorded that the power action is done.
 */
function checkReboot(run: KillRun): string[] {
  const restarts = run.ledger.filter((entry) => entry.what === 'restarted');
  const lastEvent = run.events.at(-1);
  const succeeded = lastEvent?.progress === 'SUCCESS' && lastEvent.actionName === run.actions.at(-1);
  const early = restarts.filter(
    ({ unsent, at }) => !succeeded || unsent > 0 || run.events.some(({ createdAt }) => createdAt.getTime() > at),
  );
  const violations = early.length > 0 ? ['the machine restarted before the last acknowledgement'] : [];
  if (restarts.length > 1) violations.push(`the machine restarted ${restarts.length} times`);
  const mayBeMissing = run.ledger.some(
    (entry) =>
      entry.what === 'killed' &&
      ['after journal.clearPowerAction', 'before power.finish', 'any moment'].includes(entry.point),
  );
  if (succeeded && restarts.length === 0 && !mayBeMissing) violations.push('the machine did not restart');
  return violations;
}
