import type { Action, Outcome } from '../action/action.ts';

/** Port to a container engine. */
export interface Runtime {
  /**
   * Runs an action to its end: takes over what an earlier agent left of it, or else pulls the image
   * and runs a container. Never throws for a failure of the action or of the engine: that is an
   * {@link Outcome}. Throws only the reason of `signal` when that is aborted; the container is
   * stopped and removed before.
   *
   * What has ended is kept until {@link release}: an agent that dies before it has recorded the end
   * must find it, not run the action again.
   */
  run(action: Action, signal: AbortSignal): Promise<Outcome>;
  /**
   * Like {@link run}, but only if an earlier agent left something of the action. `undefined`: it
   * did not.
   */
  resume(action: Action, signal: AbortSignal): Promise<Outcome | undefined>;
  /**
   * Gives up what is kept of an action whose end has been recorded. Never throws: what cannot be
   * removed now is removed before the next action.
   */
  release(action: Action): Promise<void>;
}
