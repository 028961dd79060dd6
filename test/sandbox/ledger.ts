import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs';
import { z } from 'zod';

const entry = z.discriminatedUnion('what', [
  /** A container was made for the action, and started; `removed`: it was thrown away. */
  z.object({ what: z.enum(['created', 'started', 'removed']), action: z.string(), at: z.number() }),
  /**
   * The agent's journal is about to record the end of the action; `journalled`: it has returned
   * from that.
   */
  z.object({ what: z.enum(['journalling', 'journalled']), action: z.string(), at: z.number() }),
  /** The process is about to kill itself at this point. */
  z.object({ what: z.literal('killed'), point: z.string(), at: z.number() }),
  /** The machine lost its power: with the agent, all containers are gone. */
  z.object({ what: z.literal('power cut'), at: z.number() }),
  /** The agent restarts the machine, with so many ends that no server has acknowledged. */
  z.object({ what: z.literal('restarted'), unsent: z.number(), at: z.number() }),
]);

export type LedgerEntry = z.infer<typeof entry>;
type WithoutTime<Entry> = Entry extends LedgerEntry ? Omit<Entry, 'at'> : never;

/**
 * What happened on a machine, in order, in a file that survives the process that writes it: each
 * line is written at once and is on the disk when `append` returns.
 */
export class Ledger {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  append(what: WithoutTime<LedgerEntry>): void {
    const file = openSync(this.#path, 'a');
    try {
      writeSync(file, `${JSON.stringify({ ...what, at: Date.now() })}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
  }

  /** Oldest first. */
  entries(): LedgerEntry[] {
    const file = openSync(this.#path, 'a+');
    try {
      const lines = readFileSync(file, 'utf8').split('\n').slice(0, -1);
      return lines.map((line) => entry.parse(JSON.parse(line)));
    } finally {
      closeSync(file);
    }
  }
}
