import { z } from 'zod';
import type { Action, Outcome } from './action/action.ts';

/** Outcome of an action in a record. */
const outcomeRecord = z.object({
  verdict: z.enum(['SUCCESS', 'FAILED', 'TIMEOUT']),
  message: z.string(),
  startedAt: z.coerce.date(),
  endedAt: z.coerce.date(),
});

const actionRecord = z.object({
  workflowId: z.string(),
  taskName: z.string(),
  name: z.string(),
  id: z.string(),
  workerId: z.string(),
  image: z.string(),
});

/** One line of the file. */
const record = z.discriminatedUnion('record', [
  z.object({ record: z.literal('started'), at: z.coerce.date(), action: actionRecord }),
  z.object({ record: z.literal('stopping'), action: actionRecord }),
  z.object({ record: z.literal('ended'), action: actionRecord, outcome: outcomeRecord }),
  z.object({ record: z.literal('acknowledged'), action: actionRecord, workflowDone: z.boolean() }),
  z.object({ record: z.literal('settled'), action: actionRecord, outcome: outcomeRecord }),
  z.object({ record: z.literal('forgotten'), workflowId: z.string() }),
  z.object({ record: z.literal('finish-due') }),
  z.object({ record: z.literal('finished') }),
]);

export type JournalRecord = z.output<typeof record>;
export type ActionRecord = z.output<typeof actionRecord>;

/** The records of one action, combined. */
interface Entry {
  readonly action: ActionRecord;
  readonly startedAt: Date | undefined;
  readonly wasStopped: boolean;
  readonly outcome: Outcome | undefined;
  readonly acknowledged: boolean;
  readonly isSettled: boolean;
}

/** All records combined. The entries are in the order of the actions. */
export interface JournalState {
  readonly entries: Map<string, Entry>;
  powerActionPending: boolean;
}

/**
 * Reads the content of a journal. An incomplete last line is left out.
 * @returns what its records come to, and the numbers of other lines that cannot be read, from 1
 */
export function replay(content: string): { state: JournalState; damagedLines: number[] } {
  const state: JournalState = { entries: new Map(), powerActionPending: false };
  const damagedLines: number[] = [];
  const lines = content.split('\n');
  for (const [index, text] of lines.entries()) {
    const parsed = record.safeParse(parseJson(text));
    if (parsed.success) apply(state, parsed.data);
    // After the last line end there is nothing, or an incomplete line.
    else if (index < lines.length - 1) damagedLines.push(index + 1);
  }
  return { state, damagedLines };
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

const newEntry: Omit<Entry, 'action'> = {
  startedAt: undefined,
  wasStopped: false,
  outcome: undefined,
  acknowledged: false,
  isSettled: false,
};

/** Adds a record to the state. */
export function apply(state: JournalState, entry: JournalRecord): void {
  switch (entry.record) {
    case 'started':
      setLast(state, { ...newEntry, action: entry.action, startedAt: entry.at });
      return;
    case 'stopping': {
      const known = state.entries.get(keyOf(entry.action));
      if (known !== undefined) state.entries.set(keyOf(entry.action), { ...known, wasStopped: true });
      return;
    }
    case 'ended': {
      const { startedAt, isSettled = false } = state.entries.get(keyOf(entry.action)) ?? {};
      setLast(state, { ...newEntry, action: entry.action, startedAt, outcome: entry.outcome, isSettled });
      // Of a settled one the power action is done.
      if (entry.outcome.verdict !== 'SUCCESS' && !isSettled) state.powerActionPending = false;
      return;
    }
    case 'acknowledged': {
      const known = state.entries.get(keyOf(entry.action));
      if (known !== undefined) state.entries.set(keyOf(entry.action), { ...known, acknowledged: true });
      if (entry.workflowDone && known?.isSettled !== true) state.powerActionPending = true;
      return;
    }
    case 'settled': {
      const { action, outcome } = entry;
      setLast(state, { ...newEntry, action, outcome, acknowledged: true, isSettled: true });
      return;
    }
    case 'forgotten':
      for (const [key, { action }] of state.entries)
        if (action.workflowId === entry.workflowId) state.entries.delete(key);
      return;
    case 'finish-due':
      state.powerActionPending = true;
      return;
    case 'finished':
      state.powerActionPending = false;
      return;
  }
}

/**
 * A record of an action moves it to the end: results are reported in the order in which they
 * happened.
 */
function setLast(state: JournalState, entry: Entry): void {
  state.entries.delete(keyOf(entry.action));
  state.entries.set(keyOf(entry.action), entry);
}

/** Of an action in {@link JournalState.entries}. */
export function keyOf(action: Pick<Action, 'workflowId' | 'id'>): string {
  return JSON.stringify([action.workflowId, action.id]);
}

/** What records have of an action: nothing that may be a secret. */
export function identityOf({ workflowId, taskName, name, id, workerId, image }: Action): ActionRecord {
  return { workflowId, taskName, name, id, workerId, image };
}

/** The shortest list of records that comes to a state. */
export function recordsOf(state: JournalState): JournalRecord[] {
  const records = [...state.entries.values()].flatMap(
    ({ action, startedAt, wasStopped, outcome, acknowledged, isSettled }): JournalRecord[] => {
      const ended = outcome === undefined ? [] : [{ record: 'ended' as const, action, outcome }];
      if (isSettled && outcome !== undefined)
        return [{ record: 'settled', action, outcome }, ...(acknowledged ? [] : ended)];
      return [
        ...(startedAt === undefined ? [] : [{ record: 'started' as const, at: startedAt, action }]),
        ...(wasStopped ? [{ record: 'stopping' as const, action }] : []),
        ...ended,
        ...(acknowledged ? [{ record: 'acknowledged' as const, action, workflowDone: false }] : []),
      ];
    },
  );
  return state.powerActionPending ? [...records, { record: 'finish-due' }] : records;
}

/** A record as a line of the file. */
export function line(entry: JournalRecord): string {
  return `${JSON.stringify(entry)}\n`;
}
