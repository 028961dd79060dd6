import type { ActionName, Verdict } from './action.ts';

/** What the loop tells of its work, for whoever shows it. Texts are free of secrets that are known. */
export type LoopEvent =
  /** The server has answered a question for work. */
  | { readonly kind: 'asked'; readonly answer: 'action' | 'idle'; readonly reason: string }
  | { readonly kind: 'begun'; readonly action: ActionName; readonly image: string; readonly at: Date }
  | {
      readonly kind: 'ended';
      readonly action: ActionName;
      readonly verdict: Verdict;
      readonly message: string;
      readonly seconds: number;
    }
  /** The server has the end of an action. `seconds`: since that end. */
  | { readonly kind: 'acknowledged'; readonly action: ActionName; readonly seconds: number; readonly done: boolean }
  /** Something does not work and is tried again; once per reason. */
  | { readonly kind: 'trouble'; readonly message: string };

/** Takes the events of the loop, as they happen. Must not throw. */
export type Observe = (event: LoopEvent) => void;
