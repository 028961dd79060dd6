import type { EngineConnection } from './engine-connection.ts';

/**
 * Whether the engine may have containers of this worker that an earlier agent left. They are listed
 * before the first action of each workflow. After that there may be leftovers only if a step of
 * this agent failed, or the engine was unavailable.
 */
export class Leftovers {
  readonly #connection: Pick<EngineConnection, 'outages'>;
  /** When containers were last listed. `undefined`: they must be listed. */
  #listed: { readonly workflowId: string; readonly outages: number } | undefined;

  constructor(connection: Pick<EngineConnection, 'outages'>) {
    this.#connection = connection;
  }

  arePossible(workflowId: string): boolean {
    return this.#listed?.workflowId !== workflowId || this.#listed.outages !== this.#connection.outages();
  }

  /** Called before the list is requested: a failure meanwhile leaves leftovers possible. */
  markListed(workflowId: string): void {
    this.#listed = { workflowId, outages: this.#connection.outages() };
  }

  /** A container may be left, or a request may have made one although its response was lost. */
  markPossible(): void {
    this.#listed = undefined;
  }
}
