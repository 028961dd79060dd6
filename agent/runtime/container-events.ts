import type { Readable } from 'node:stream';
import { z } from 'zod';
import type { Clock } from '../../clock/clock.ts';
import { startDeadline } from '../../clock/deadline.ts';
import type { Engine } from './engine.ts';
import type { EngineApi, EventQuestion } from './engine-api.ts';

/** Engine API, "Monitor events". */
const engineEvent = z.object({ Action: z.string(), Actor: z.object({ Attributes: z.record(z.string(), z.string()) }) });

type EngineEvent = z.output<typeof engineEvent>;

/**
 * Listens for the end of a container, before it starts. The engine tells of it before it clears up after the container; the answer to a request that waits for
 * the end comes after that, some 10 ms later.
 * @returns `success`: the container has ended with 0; `undefined` if it ended otherwise, or if the engine goes away or tells no events. Never rejects.
 */
export async function watchForSuccess(
  { api, clock }: Engine,
  id: string,
  signal: AbortSignal,
): Promise<{ readonly success: Promise<true | undefined> }> {
  const source = await openEvents(api, clock, { container: id, event: 'die' }, signal);
  const success =
    source && firstEvent(source).then((event) => event?.Actor.Attributes['exitCode'] === '0' || undefined);
  return { success: success ?? Promise.resolve(undefined) };
}

/**
 * Whether the engine told that a container ran out of memory. It may hear of that after it has heard of the end, so this waits for up to a second after the end.
 * @param startedAt and `endedAt`: by the engine's clock.
 */
export async function ranOutOfMemory(
  { api, clock }: Engine,
  id: string,
  { startedAt, endedAt }: { readonly startedAt: Date; readonly endedAt: Date },
  signal: AbortSignal,
): Promise<boolean> {
  const [sinceSeconds, untilSeconds] = [startedAt.getTime() / 1000, endedAt.getTime() / 1000 + 1];
  const source = await openEvents(api, clock, { container: id, event: 'oom', sinceSeconds, untilSeconds }, signal);
  return source !== undefined && (await firstEvent(source)) !== undefined;
}

/** An engine that does not answer by then tells no events; the action does not wait for them. Unit: seconds. */
const patienceSeconds = 2;

/** `undefined`: an engine that tells no events, or none now. */
async function openEvents(
  api: EngineApi,
  clock: Clock,
  question: EventQuestion,
  signal: AbortSignal,
): Promise<Readable | undefined> {
  using deadline = startDeadline(clock, { seconds: patienceSeconds, awaited: 'answer' }, signal);
  try {
    return await api.events?.(question, deadline.signal);
  } catch {
    signal.throwIfAborted();
    // Whether the engine is there is found out by the requests that matter.
    return undefined;
  }
}

/** A line of JSON is an event. `undefined`: the answer ended or broke off before there was one. */
async function firstEvent(source: Readable): Promise<EngineEvent | undefined> {
  let text = '';
  try {
    for await (const chunk of source) {
      text += chunk;
      const end = text.indexOf('\n');
      if (end >= 0) return engineEvent.safeParse(JSON.parse(text.slice(0, end))).data;
    }
  } catch {
    // Events only tell early, or in addition, what is asked for anyway.
  }
  return undefined;
}
