import { startDeadline } from '../../clock/deadline.ts';
import type { ExitedState } from './container-state.ts';
import type { ContainerEvent, EventFilter } from './engine.ts';
import type { EngineConnection } from './engine-connection.ts';

/**
 * Watches for the exit of a container, before it starts. The engine sends the event before it
 * cleans up after the container; the response to a request that waits for the exit comes after
 * that, some 10 ms later.
 * @returns `success`: the container has exited with 0; `undefined` if it exited otherwise, or if
 * there are no events. Never rejects.
 */
export async function watchForSuccess(
  connection: EngineConnection,
  id: string,
  signal: AbortSignal,
): Promise<{ readonly success: Promise<true | undefined> }> {
  const events = await openEvents(connection, { container: id, kind: 'exited' }, signal);
  const success =
    events && firstOf(events).then((event) => (event?.kind === 'exited' && event.exitCode === 0) || undefined);
  return { success: success ?? Promise.resolve(undefined) };
}

/**
 * Whether the engine reported that a container ran out of memory. That event may come after the one
 * of the exit, so this waits for up to a second after the exit.
 */
export async function ranOutOfMemory(
  connection: EngineConnection,
  id: string,
  { startedAt, exitedAt }: Pick<ExitedState, 'startedAt' | 'exitedAt'>,
  signal: AbortSignal,
): Promise<boolean> {
  const until = new Date(exitedAt.getTime() + 1000);
  const filter = { container: id, kind: 'out-of-memory', since: startedAt, until } as const;
  const events = await openEvents(connection, filter, signal);
  return events !== undefined && (await firstOf(events)) !== undefined;
}

/** An engine that does not answer in this time has no events; the action does not wait for them. */
const timeoutSeconds = 2;

/** `undefined`: an engine that has no events, or none now. */
async function openEvents(
  { engine, clock }: EngineConnection,
  filter: EventFilter,
  signal: AbortSignal,
): Promise<AsyncIterable<ContainerEvent> | undefined> {
  using deadline = startDeadline(clock, { seconds: timeoutSeconds, awaited: 'answer' }, signal);
  try {
    return await engine.events?.(filter, deadline.signal);
  } catch {
    signal.throwIfAborted();
    // Whether the engine is available is found by the requests that matter.
    return undefined;
  }
}

/** `undefined`: the events ended, or the connection broke, before there was one. */
async function firstOf(events: AsyncIterable<ContainerEvent>): Promise<ContainerEvent | undefined> {
  try {
    for await (const event of events) return event;
  } catch {
    // Events only report early, or in addition, what is asked for anyway.
  }
  return undefined;
}
