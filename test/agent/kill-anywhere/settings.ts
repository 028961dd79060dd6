import { z } from 'zod';
import { SERVER_DIALECTS } from '../../sandbox/tink-server/services.ts';

/** Where the agent dies. */
const kill = z.discriminatedUnion('kind', [
  /** When it passes this point for the n-th time, from 1. */
  z.object({ kind: z.literal('point'), point: z.string(), occurrence: z.number() }),
  /** At the n-th point that it passes, from 1. */
  z.object({ kind: z.literal('passage'), passage: z.number() }),
  /** After this time, wherever it is. */
  z.object({ kind: z.literal('moment'), milliseconds: z.number() }),
]);

/** Settings of an agent's process, as JSON in its only argument. */
export const killableAgentSettings = z.object({
  authority: z.string(),
  tls: z.boolean(),
  certificateAuthority: z.string().optional(),
  workerId: z.string(),
  dialect: z.enum(SERVER_DIALECTS),
  /** Holds the journal and the ledger. */
  directory: z.string(),
  interrupted: z.enum(['rerun', 'fail']),
  /** Default: it lives on. */
  kill: kill.optional(),
});

export type Kill = z.infer<typeof kill>;
export type KillableAgentSettings = z.infer<typeof killableAgentSettings>;

/**
 * All named points: before and after each call of a port by the loop, and the steps within the run
 * of a container.
 */
export const POINTS: readonly string[] = [
  ...['transport.next', 'transport.report started', 'transport.report ended'],
  ...['journal.started', 'journal.ended', 'journal.acknowledged', 'journal.compact', 'journal.clearPowerAction'],
  ...['runtime.run', 'runtime.resume', 'runtime.release', 'power.rebootRequested'],
]
  .flatMap((call) => [`before ${call}`, `after ${call}`])
  .concat('container created', 'container started', 'container ended', 'before power.finish', 'after power.finish');

/** How the process ends when nothing kills it. */
export const EXIT = { nothingToDo: 0, restarted: 10 } as const;

/** Of an action that ends with exit code 3. */
export const BAD = 'bad';
