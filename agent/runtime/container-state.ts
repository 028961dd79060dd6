/**
 * A container that was started and does not run any more. Times are those of the engine's clock.
 */
export interface ExitedState {
  readonly status: 'exited';
  readonly startedAt: Date;
  readonly exitedAt: Date;
  readonly exitCode: number;
  readonly outOfMemory: boolean;
  /** The engine's error about the exit, in plain words, or empty. */
  readonly error: string;
}

/** Where a container is in its life. One that could not be started is `created`. */
export type ContainerState =
  | { readonly status: 'created' }
  | { readonly status: 'running'; readonly startedAt: Date }
  | ExitedState;

/** An engine's response about one container. */
export interface ContainerDetails {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly state: ContainerState;
}

/** A container in an engine's list. */
export interface ContainerSummary {
  readonly id: string;
  readonly name: string;
  readonly image: string;
  readonly labels: Readonly<Record<string, string>>;
  /** `unknown`: in none of the other states, for example half removed. */
  readonly status: ContainerState['status'] | 'unknown';
}
