import { z } from 'zod';
import type { ContainerDetails, ContainerSummary } from '../container-state.ts';
import { plainReason } from './engine-error.ts';

/** Podman has `null` for none. */
const labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((given) => given ?? {});

/** States of the list ("List containers") that count as running. */
const runningStates: ReadonlySet<string> = new Set(['running', 'paused', 'restarting']);

/** Engine API, "List containers". */
export const containerList = z.array(
  z
    .object({ Id: z.string(), Names: z.array(z.string()), Image: z.string(), Labels: labels, State: z.string() })
    .transform(({ Id, Names, Image, Labels, State }): ContainerSummary => {
      const names = Names.map((name) => name.replace(/^\//, ''));
      return {
        id: Id,
        // One with a slash inside is an alias that another container has for it.
        name: names.find((name) => !name.includes('/')) ?? Id,
        image: Image,
        labels: Labels,
        status: runningStates.has(State) ? 'running' : State === 'created' || State === 'exited' ? State : 'unknown',
      };
    }),
);

/** Engine API, "Inspect a container". A time that never was is in the year 1. */
export const containerDetails = z
  .object({
    Id: z.string(),
    Config: z.object({ Labels: labels }),
    State: z.object({
      Running: z.boolean(),
      ExitCode: z.number(),
      OOMKilled: z.boolean().default(false),
      Error: z.string().default(''),
      StartedAt: z.coerce.date(),
      FinishedAt: z.coerce.date(),
    }),
  })
  .transform(({ Id, Config, State }): ContainerDetails => {
    const { Running, ExitCode, OOMKilled, Error: error, StartedAt: startedAt, FinishedAt: exitedAt } = State;
    const base = { id: Id, labels: Config.Labels };
    if (startedAt.getTime() <= 0) return { ...base, state: Running ? { status: 'running', startedAt } : created };
    if (Running) return { ...base, state: { status: 'running', startedAt } };
    const end = { exitedAt, exitCode: ExitCode, outOfMemory: OOMKilled, error: plainReason(error) };
    return { ...base, state: { status: 'exited', startedAt, ...end } };
  });

const created = { status: 'created' } as const;
