import type { ActionName, Verdict } from './action.ts';

/** Events of the loop, for metrics and status. Texts are free of known secrets. */
export type LoopEvent =
  /** The server has answered a poll. */
  | { readonly kind: 'asked'; readonly answer: 'action' | 'idle'; readonly reason: string }
  | { readonly kind: 'begun'; readonly action: ActionName; readonly image: string; readonly at: Date }
  | {
      readonly kind: 'ended';
      readonly action: ActionName;
      readonly verdict: Verdict;
      readonly message: string;
      readonly seconds: number;
    }
  /** The server has acknowledged the result of an action. `seconds`: since its end. */
  | { readonly kind: 'acknowledged'; readonly action: ActionName; readonly seconds: number; readonly done: boolean }
  /** A failure that is retried; once per reason. */
  | { readonly kind: 'trouble'; readonly message: string };

/** Takes the events of the loop. Must not throw. */
export type Observe = (event: LoopEvent) => void;
