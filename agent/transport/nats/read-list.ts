import { getAsset, isSea } from 'node:sea';
import { Worker } from 'node:worker_threads';
import type { Clock } from '../../../clock/clock.ts';
import { within } from '../../../clock/within.ts';
import { type ActionList, ActionListError, type ActionListOptions } from './action-list.ts';
import type { ListToRead, ReadList } from './read-list-thread.ts';

/** Largest message that NATS servers take, unless they are configured otherwise. */
export const maxListBytes = 1024 * 1024;

/** A list of the largest size that is mostly text takes a tenth of it. */
const maxHeapMiB = 192;
const timeoutSeconds = 60;

/** File name of the thread's code in the executable. */
export const threadFile = 'read-list-thread.cjs';

/**
 * Reads a list in a thread of its own: its sender may be anybody, and a text of some hundred kB
 * keeps a parser busy for seconds, in which the agent would answer nothing.
 *
 * @throws {ActionListError} with everything that is wrong; the reason of `signal`
 */
export async function readList(
  text: string,
  options: ActionListOptions,
  clock: Clock,
  signal: AbortSignal,
): Promise<ActionList> {
  const thread = startThread({ text, options });
  const answer = new Promise<ReadList>((resolve, reject) => {
    thread.once('message', resolve).once('error', reject);
    thread.once('exit', () => reject(new Error('its thread ended without an answer')));
  });
  // It may be stopped before it is waited for.
  answer.catch(() => {});
  try {
    const read = await within(clock, { seconds: timeoutSeconds, awaited: 'result' }, signal, () => answer);
    if (read.kind === 'list') return read.list;
    throw new ActionListError(read.why);
  } catch (error) {
    if (!isOutOfMemory(error)) throw error;
    throw new ActionListError(`${options.source}: it takes more than ${maxHeapMiB} MiB to read`, { cause: error });
  } finally {
    await thread.terminate();
  }
}

function startThread(workerData: ListToRead): Worker {
  const options = {
    workerData,
    // The thread reads text, and needs nothing else.
    env: {},
    resourceLimits: { maxOldGenerationSizeMb: maxHeapMiB, maxYoungGenerationSizeMb: 16 },
  };
  return isSea()
    ? new Worker(getAsset(threadFile, 'latin1'), { ...options, eval: true })
    : new Worker(new URL('./read-list-thread.ts', import.meta.url), options);
}

function isOutOfMemory(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ERR_WORKER_OUT_OF_MEMORY';
}
