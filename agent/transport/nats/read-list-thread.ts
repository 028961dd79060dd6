import { parentPort, workerData } from 'node:worker_threads';
import { type ActionList, ActionListError, type ActionListOptions, readActionList } from './action-list.ts';

// The thread that `read-list.ts` starts.

/** A list, and what it is read with. */
export interface ListToRead {
  readonly text: string;
  readonly options: ActionListOptions;
}

/** What the thread makes of it. */
export type ReadList =
  | { readonly kind: 'list'; readonly list: ActionList }
  | { readonly kind: 'refused'; readonly why: string };

function read({ text, options }: ListToRead): ReadList {
  try {
    return { kind: 'list', list: readActionList(text, options) };
  } catch (error) {
    if (!(error instanceof ActionListError)) throw error;
    return { kind: 'refused', why: error.message };
  }
}

if (!parentPort) throw new Error('this module runs in a worker thread only');
parentPort.postMessage(read(workerData as ListToRead));
