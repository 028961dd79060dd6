import { z } from 'zod';
import type { ContainerDetails, ContainerSummary } from '../container-state.ts';
import { plainReason } from './engine-error.ts';

/** Podman has `null` for none. */
const labels = z
  .record(z.string(), z.string())
  .nullish()
  .transform((given) => given ?? {});

/**
 * States of the list ("List containers"). Podman has two more than Docker: a container that is
 * being stopped is `stopping`, one that has ended is `stopped` until Podman has cleaned up after
 * it.
 */
const statuses: Readonly<Record<string, ContainerSummary['status']>> = {
  created: 'created',
  running: 'running',
  paused: 'running',
  restarting: 'running',
  stopping: 'running',
  stopped: 'exited',
  exited: 'exited',
};

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
        status: (Object.hasOwn(statuses, State) && statuses[State]) || 'unknown',
      };
    }),
);

/** Engine API, "Inspect a container". A time that never was is in the year 1. */
export const containerDetails = z
  .object({
    Id: z.string(),
    Config: z.object({ Labels: labels }),
    State: z.object({
      Status: z.string().default(''),
      Running: z.boolean(),
      ExitCode: z.number(),
      OOMKilled: z.boolean().default(false),
      Error: z.string().default(''),
      StartedAt: z.coerce.date(),
      FinishedAt: z.coerce.date(),
    }),
  })
  .transform(({ Id, Config, State }): ContainerDetails => {
    // Podman says of one that is stopping that it does not run.
    const isRunning = State.Running || State.Status === 'stopping';
    const { ExitCode, OOMKilled, Error: error, StartedAt: startedAt, FinishedAt: exitedAt } = State;
    const base = { id: Id, labels: Config.Labels };
    if (startedAt.getTime() <= 0) return { ...base, state: isRunning ? { status: 'running', startedAt } : created };
    if (isRunning) return { ...base, state: { status: 'running', startedAt } };
    const end = { exitedAt, exitCode: ExitCode, outOfMemory: OOMKilled, error: plainReason(error) };
    return { ...base, state: { status: 'exited', startedAt, ...end } };
  });

const created = { status: 'created' } as const;
