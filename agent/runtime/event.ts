import type { ActionName } from '../action/action.ts';

export type { ActionName };

/** `action`: the action's command; the others are the commands that react to its failure. */
export type Role = 'action' | 'on-timeout' | 'on-failure';

/**
 * What the runtime reports while it works. Texts are free of secrets, except output lines: those
 * are redacted where they are written.
 */
export type RuntimeEvent =
  | { readonly kind: 'pulling'; readonly action: ActionName; readonly image: string }
  /**
   * At most once a second, and at the end of a download. `totalBytes` grows while the engine learns
   * the sizes of the layers.
   */
  | {
      readonly kind: 'pull-progress';
      readonly action: ActionName;
      readonly image: string;
      readonly doneBytes: number;
      readonly totalBytes: number;
    }
  | { readonly kind: 'pulled'; readonly action: ActionName; readonly image: string; readonly seconds: number }
  /** Images of an archive in the directory that is configured for them. */
  | {
      readonly kind: 'images-loaded';
      readonly archive: string;
      readonly images: readonly string[];
      readonly seconds: number;
    }
  /** `adopted`: the container was started by an earlier agent. */
  | {
      readonly kind: 'started';
      readonly action: ActionName;
      readonly role: Role;
      readonly container: string;
      readonly adopted: boolean;
    }
  /** `continues`: the line was too long for one event; its rest follows. */
  | {
      readonly kind: 'output';
      readonly action: ActionName;
      readonly role: Role;
      readonly stream: 'stdout' | 'stderr';
      readonly line: string;
      readonly continues: boolean;
    }
  | {
      readonly kind: 'ended';
      readonly action: ActionName;
      readonly role: Role;
      readonly exitCode: number;
      readonly message: string;
    }
  | { readonly kind: 'warning'; readonly action: ActionName; readonly message: string }
  /** The engine became unavailable or available again; once per change. */
  | { readonly kind: 'engine'; readonly reachable: boolean; readonly message: string }
  /** A failure of the engine that stops nothing. */
  | { readonly kind: 'engine-warning'; readonly message: string };

/** Receives events. A promise applies back-pressure to the output of the action. */
export type OnRuntimeEvent = (event: RuntimeEvent) => void | Promise<void>;
