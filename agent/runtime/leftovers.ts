import type { EngineConnection } from './engine-connection.ts';

/**
 * Whether the engine may have containers of this worker that no process works with. An agent that
 * ended before its containers did leaves them to the next one. The engine is asked before the first
 * action of each workflow; after that there may be some only if a step of this agent failed, or the
 * engine was unavailable.
 */
export class Leftovers {
  readonly #connection: Pick<EngineConnection, 'outages'>;
  /** When the engine was asked last. `undefined`: it is to be asked. */
  #asked: { readonly workflowId: string; readonly outages: number } | undefined;

  constructor(connection: Pick<EngineConnection, 'outages'>) {
    this.#connection = connection;
  }

  arePossible(workflowId: string): boolean {
    return this.#asked?.workflowId !== workflowId || this.#asked.outages !== this.#connection.outages();
  }

  /** Called before the engine is asked: what fails meanwhile leaves them possible. */
  markAsked(workflowId: string): void {
    this.#asked = { workflowId, outages: this.#connection.outages() };
  }

  /** A container may be left, or a request may have made one although its answer was lost. */
  markPossible(): void {
    this.#asked = undefined;
  }
}
