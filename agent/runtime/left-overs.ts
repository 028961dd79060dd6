import type { Engine } from './engine.ts';

/**
 * Whether the engine may have containers of this worker that nobody works with. An agent that ended before its containers did leaves them to the next one. The
 * engine is asked before the first action of each workflow; after that there is something to be found only if a step of this agent failed, or the engine has
 * been away.
 */
export class LeftOvers {
  readonly #engine: Pick<Engine, 'outages'>;
  /** When the engine was asked last. `undefined`: it is to be asked. */
  #asked: { readonly workflowId: string; readonly outages: number } | undefined;

  constructor(engine: Pick<Engine, 'outages'>) {
    this.#engine = engine;
  }

  arePossible(workflowId: string): boolean {
    return this.#asked?.workflowId !== workflowId || this.#asked.outages !== this.#engine.outages();
  }

  /** To be called before the engine is asked: what fails meanwhile leaves them possible. */
  looking(workflowId: string): void {
    this.#asked = { workflowId, outages: this.#engine.outages() };
  }

  /** A container may be left, or a request may have made one although its answer was lost. */
  suspect(): void {
    this.#asked = undefined;
  }
}
