import { OperationError } from '../../errors/operation-error.ts';
import type { Action, Event } from '../action/action.ts';

/** What the server wants next. */
export type Next =
  /**
   * Run this action; `alreadyStarted`: the server already shows it as started, by an agent that did
   * not report its end. `isUnique`: no other action ever has its IDs. Default: false, a workflow
   * may have the name of one before it.
   */
  | {
      readonly kind: 'action';
      readonly action: Action;
      readonly alreadyStarted: boolean;
      readonly isUnique?: boolean;
    }
  /**
   * Nothing to do now; ask again later. `mayContinue`: the server leaves open whether a workflow
   * goes on, here or on another machine; the machine must not be restarted yet, and an action that
   * ended may be asked for again. Default: false.
   */
  | { readonly kind: 'idle'; readonly reason: string; readonly mayContinue?: boolean };

/** What the server made of a report. */
export type Acknowledgement =
  /**
   * The server has it; `workflowDone`: this was the last action and it succeeded; `unknown`: it
   * succeeded, and only the next question tells if it was the last.
   */
  | { readonly kind: 'acknowledged'; readonly workflowDone: boolean | 'unknown' }
  /** The server no longer wants it (workflow deleted, cancelled, or ended otherwise). */
  | { readonly kind: 'obsolete'; readonly reason: string };

/** Whether the server still waits for the end of an action that runs. */
export type CancelState =
  | { readonly kind: 'active' }
  /**
   * Its workflow was deleted, cancelled, or ended otherwise. `isFinal`: the server looked for so
   * long that it need not be asked again. Default: false.
   */
  | { readonly kind: 'cancelled'; readonly reason: string; readonly isFinal?: boolean };

/**
 * Port to a server. All methods try once and throw a {@link TransportError}; the loop decides about
 * trying again. An adapter settles by itself what is ambiguous in its protocol (for example a lost
 * answer), so that sending an event a second time is safe.
 */
export interface Transport extends AsyncDisposable {
  /** Asks for the next action of this worker. */
  next(signal: AbortSignal): Promise<Next>;
  /** Reports one event and waits until the server has acknowledged it. */
  report(event: Event, signal: AbortSignal): Promise<Acknowledgement>;
  /**
   * Looks whether an action whose start was acknowledged is still wanted. Changes nothing on the
   * server. In doubt it is.
   */
  checkCancelled(action: Action, signal: AbortSignal): Promise<CancelState>;
}

/** The server cannot be reached or understood. A later attempt may succeed. */
export class TransportError extends OperationError {
  override readonly name: string = 'TransportError';
}
