import type { Action, Outcome } from '../action/action.ts';

/** Takes note of a stop before it happens. */
export type BeforeStop = () => Promise<void>;

/** Port to a container engine. */
export interface Runtime {
  /**
   * Runs an action to its end: adopts the container that an earlier agent left of it, or else pulls
   * the image and runs a container. A failure of the action or of the engine is an {@link Outcome}.
   * @param beforeStop Awaited before a container that has not exited is stopped, because of
   * `signal` or a failure; not at the limit of the action. Never rejects. Default: nothing.
   * @throws the reason of `signal`, after the container was stopped and removed, unless it has
   * exited: then it is kept, with its result
   *
   * The container is kept until {@link release}: if this agent dies before it has recorded the
   * result, the next one finds the container and does not run the action again.
   */
  run(action: Action, signal: AbortSignal, beforeStop?: BeforeStop): Promise<Outcome>;
  /**
   * Like {@link run}, but starts nothing. `undefined`: no earlier agent left a container of the
   * action.
   */
  resume(action: Action, signal: AbortSignal, beforeStop?: BeforeStop): Promise<Outcome | undefined>;
  /**
   * Removes the container that an earlier agent left of an action, whatever its state: that agent
   * was about to stop it, and how it exited or will exit says nothing about the action.
   * @throws {Error} it may still be there; the reason of the signal
   */
  discard(action: Action, signal: AbortSignal): Promise<void>;
  /**
   * Removes the container of an action whose result has been recorded. Never throws: a container
   * that cannot be removed now is removed before the next action.
   */
  release(action: Action): Promise<void>;
}
