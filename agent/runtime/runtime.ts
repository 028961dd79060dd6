import type { Action, Outcome } from '../action/action.ts';

/** Port to a container engine. */
export interface Runtime {
  /**
   * Runs an action to its end: adopts the container that an earlier agent left of it, or else pulls
   * the image and runs a container. A failure of the action or of the engine is an {@link Outcome}.
   * @throws the reason of `signal`, after the container was stopped and removed
   *
   * The container is kept until {@link release}: if this agent dies before it has recorded the
   * result, the next one finds the container and does not run the action again.
   */
  run(action: Action, signal: AbortSignal): Promise<Outcome>;
  /**
   * Like {@link run}, but starts nothing. `undefined`: no earlier agent left a container of the
   * action.
   */
  resume(action: Action, signal: AbortSignal): Promise<Outcome | undefined>;
  /**
   * Removes the container of an action whose result has been recorded. Never throws: a container
   * that cannot be removed now is removed before the next action.
   */
  release(action: Action): Promise<void>;
}
