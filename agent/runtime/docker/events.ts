import { z } from 'zod';
import type { ContainerEvent, EventFilter } from '../engine.ts';
import { jsonLines } from './json-lines.ts';

/** Engine API, "Monitor events". Podman sends attributes that are not strings. */
const engineEvent = z.object({
  Action: z.string(),
  Actor: z.object({ Attributes: z.record(z.string(), z.unknown()) }),
});

/** Names of events in the API. */
const actions: Readonly<Record<ContainerEvent['kind'], string>> = { exited: 'die', 'out-of-memory': 'oom' };

/** Parameters of the request. */
export function eventParameters({ container, kind, since, until }: EventFilter) {
  return {
    filters: { container: [container], event: [actions[kind]] },
    ...(since && { since: since.getTime() / 1000 }),
    ...(until && { until: until.getTime() / 1000 }),
  };
}

/**
 * Events of the response; ones of another form are left out.
 * @throws what the source throws
 */
export async function* containerEvents(source: AsyncIterable<Buffer>): AsyncGenerator<ContainerEvent, void, undefined> {
  for await (const value of jsonLines(source)) {
    const { data } = engineEvent.safeParse(value);
    if (data?.Action === actions['out-of-memory']) yield { kind: 'out-of-memory' };
    if (data?.Action === actions.exited) yield { kind: 'exited', exitCode: Number(data.Actor.Attributes['exitCode']) };
  }
}
