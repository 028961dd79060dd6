import { join } from 'node:path';
import type { Clock } from '../clock/clock.ts';
import { systemClock } from '../clock/system.ts';
import { OperationError } from '../errors/operation-error.ts';
import { reasonOf } from '../errors/reason.ts';
import type { Action, Outcome } from './action/action.ts';
import {
  type ActionRecord,
  apply,
  identityOf,
  type JournalRecord,
  type JournalState,
  keyOf,
  line,
  recordsOf,
  replay,
} from './journal-state.ts';
import { fileSystem, type JournalFile, type JournalStorage } from './journal-storage.ts';

/** The journal cannot be read or written. */
export class JournalError extends OperationError {
  override readonly name = 'JournalError';
}

/** An action that ended, and whose result the server may not have acknowledged. */
export interface EndedAction {
  /**
   * Command, environment and volumes are empty: they may hold secrets, and no report needs them.
   */
  readonly action: Action;
  readonly outcome: Outcome;
}

/** State of an action. */
type ActionState =
  /** There is no record. */
  | { readonly kind: 'unknown' }
  /**
   * It was about to start, and there is no result: it may have done any part of its work.
   * `wasStopped`: an agent was about to stop its container, whose exit code says nothing about the
   * action therefore.
   */
  | { readonly kind: 'started'; readonly wasStopped: boolean }
  /**
   * It ran to its end. `isSettled`: its workflow is over, and the server has acknowledged all of
   * it; where IDs of workflows are names, another workflow may have the same.
   */
  | { readonly kind: 'ended'; readonly outcome: Outcome; readonly isSettled: boolean };

/**
 * What the agent has done, on stable storage. Each method returns when its record is synced to the
 * disk.
 *
 * The server decides what is to be done. The journal only answers what the server cannot know after
 * a crash: whether an action started, whether it ended, its result, and whether that is
 * acknowledged.
 */
export interface Journal extends AsyncDisposable {
  /** To be called before the action starts. */
  started(action: Action, at: Date): Promise<void>;
  /** To be called before the agent stops a container of the action that has not exited. */
  stopping(action: Action): Promise<void>;
  /** To be called before the result is reported. */
  ended(action: Action, outcome: Outcome): Promise<void>;
  /** The server has acknowledged the result. `workflowDone`: of the last action, a success. */
  acknowledged(action: Action, workflowDone: boolean): Promise<void>;
  /** Forgets a workflow that the server no longer has. */
  forget(workflowId: string): Promise<void>;
  /**
   * Settles workflows whose results are all acknowledged, except the current one, and shortens the
   * file. Of what is settled the latest results are remembered: a report that is delayed on its way
   * to the server can make it ask for an action that ended.
   */
  compact(currentWorkflowId: string | undefined): Promise<void>;
  /**
   * The machine is about to reboot or power off, or will not: no power action is pending any more.
   */
  clearPowerAction(): Promise<void>;

  /** Results that the server has not acknowledged, in the order in which they happened. */
  pendingReports(): readonly EndedAction[];
  /** State of an action. */
  stateOf(action: Action): ActionState;
  /**
   * Whether a workflow was acknowledged as done, no action failed since, and {@link
   * Journal.clearPowerAction} was not called since.
   */
  powerActionPending(): boolean;
}

const fileName = 'journal.jsonl';

/** So many results are remembered of what is settled; the file has some hundred bytes for each. */
const maxSettled = 200;

/**
 * Opens the journal in `directory`, which is created if missing. An incomplete last line is what a
 * crash during a write leaves; it is removed, because nothing relied on that record yet. Other
 * damaged lines are skipped; the damaged file is kept as `journal.jsonl.damaged-<milliseconds>`.
 *
 * @param onDamage called with a message that says what is damaged and where the file is kept
 * @param storage Default: the file system.
 * @throws {JournalError} when the directory or the file cannot be used
 */
export async function openJournal(
  directory: string,
  onDamage: (message: string) => void,
  clock: Clock = systemClock,
  storage: JournalStorage = fileSystem,
): Promise<Journal> {
  const path = join(directory, fileName);
  try {
    await storage.makeDirectory(directory);
    const content = await storage.read(path);
    const { state, damagedLines } = replay(content);
    if (damagedLines.length > 0) {
      const aside = `${path}.damaged-${clock.now().getTime()}`;
      await storage.copy(path, aside);
      onDamage(
        `${path} is damaged in line ${damagedLines.join(', ')}; it is kept as ${aside}, and the journal continues with the readable lines`,
      );
    }
    // The file is always rewritten: that removes an incomplete line and keeps everything else.
    return new FileJournal(storage, path, state, await rewrite(storage, path, state));
  } catch (error) {
    const hint = 'is the state directory writable?';
    throw new JournalError({ what: 'open the journal', target: path, why: reasonOf(error), hint, cause: error });
  }
}

class FileJournal implements Journal {
  readonly #storage: JournalStorage;
  readonly #path: string;
  readonly #state: JournalState;
  #file: JournalFile;
  /**
   * After a failed write the end of the file is unknown; it is rewritten before the next record.
   */
  #intact = true;

  constructor(storage: JournalStorage, path: string, state: JournalState, file: JournalFile) {
    this.#storage = storage;
    this.#path = path;
    this.#state = state;
    this.#file = file;
  }

  started(action: Action, at: Date): Promise<void> {
    return this.#append({ record: 'started', at, action: identityOf(action) });
  }

  stopping(action: Action): Promise<void> {
    return this.#append({ record: 'stopping', action: identityOf(action) });
  }

  ended(action: Action, outcome: Outcome): Promise<void> {
    return this.#append({ record: 'ended', action: identityOf(action), outcome });
  }

  acknowledged(action: Action, workflowDone: boolean): Promise<void> {
    return this.#append({ record: 'acknowledged', action: identityOf(action), workflowDone });
  }

  forget(workflowId: string): Promise<void> {
    return this.#append({ record: 'forgotten', workflowId });
  }

  clearPowerAction(): Promise<void> {
    return this.#append({ record: 'finished' });
  }

  async compact(currentWorkflowId: string | undefined): Promise<void> {
    const entries = [...this.#state.entries];
    const open = new Set(
      entries.filter(([, entry]) => !entry.acknowledged).map(([, entry]) => entry.action.workflowId),
    );
    const over = entries.filter(
      ([, { action, isSettled }]) =>
        !isSettled && action.workflowId !== currentWorkflowId && !open.has(action.workflowId),
    );
    if (over.length === 0) return;
    for (const [key, entry] of over) this.#state.entries.set(key, { ...entry, isSettled: true });
    const settled = [...this.#state.entries].filter(([, { isSettled, acknowledged }]) => isSettled && acknowledged);
    for (const [key] of settled.slice(0, -maxSettled)) this.#state.entries.delete(key);
    await this.#rewrite();
  }

  pendingReports(): readonly EndedAction[] {
    return [...this.#state.entries.values()].flatMap(({ action, outcome, acknowledged }) =>
      outcome === undefined || acknowledged ? [] : [{ action: reportable(action), outcome }],
    );
  }

  stateOf(action: Action): ActionState {
    const entry = this.#state.entries.get(keyOf(action));
    if (entry === undefined) return { kind: 'unknown' };
    const { outcome, wasStopped, isSettled } = entry;
    return outcome === undefined ? { kind: 'started', wasStopped } : { kind: 'ended', outcome, isSettled };
  }

  powerActionPending(): boolean {
    return this.#state.powerActionPending;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }

  async #append(entry: JournalRecord): Promise<void> {
    try {
      if (!this.#intact) await this.#rewrite();
      this.#intact = false;
      await this.#file.append(line(entry));
      await this.#file.sync();
      this.#intact = true;
    } catch (error) {
      const [what, target] = ['write to the journal', this.#path];
      throw new JournalError({ what, target, why: reasonOf(error), cause: error });
    }
    // Only records that are on the disk count.
    apply(this.#state, entry);
  }

  async #rewrite(): Promise<void> {
    // If it fails after the rename, the file that is open is no longer the one in the directory.
    this.#intact = false;
    const file = await rewrite(this.#storage, this.#path, this.#state);
    await this.#file.close();
    this.#file = file;
    this.#intact = true;
  }
}

function reportable(action: ActionRecord): Action {
  return {
    ...action,
    registryPrefix: 'never',
    sharesDirectory: false,
    command: [],
    environment: [],
    volumes: [],
    timeoutSeconds: undefined,
    pidMode: undefined,
    networkMode: undefined,
    onTimeout: [],
    onFailure: [],
  };
}

/**
 * Writes the shortest file with this state, by way of a temporary file; returns it open at its end.
 */
async function rewrite(storage: JournalStorage, path: string, state: JournalState): Promise<JournalFile> {
  const unfinished = `${path}.new`;
  const file = await storage.create(unfinished);
  try {
    await file.append(recordsOf(state).map(line).join(''));
    await file.sync();
    await storage.rename(unfinished, path);
    await storage.syncDirectory(join(path, '..'));
  } catch (error) {
    await file.close();
    throw error;
  }
  return file;
}
