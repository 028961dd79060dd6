import type { PrefixRule } from '../../registry/image-reference.ts';

/** Actions and their ends, in terms that are independent of wire formats and engines. */

/**
 * One step of a workflow: a container to run to its end. Strings are exactly as the server sent
 * them.
 */
export interface Action {
  /** Opaque to us; may contain a slash (`namespace/name`). */
  readonly workflowId: string;
  readonly taskName: string;
  readonly name: string;
  /** Identifies this action inside its workflow across restarts of the agent and of the server. */
  readonly id: string;
  /** The worker the server assigned the action to; copied into reports. */
  readonly workerId: string;
  /** Image reference as the template has it, before any registry prefix. */
  readonly image: string;
  /** Which images the server's own agents put their registry in front of. */
  readonly registryPrefix: PrefixRule;
  /**
   * Whether the actions of a workflow share a directory of the machine, which they see as
   * /workflow, as with the server's own agents.
   */
  readonly sharesDirectory: boolean;
  /** Replaces the image's ENTRYPOINT. Default: the image's own. */
  readonly entrypoint?: readonly string[] | undefined;
  /** Replaces the image's CMD when not empty. */
  readonly command: readonly string[];
  /** `NAME=value`. */
  readonly environment: readonly string[];
  /** Docker bind syntax, `source:target[:options]`. */
  readonly volumes: readonly string[];
  /** `undefined`: the server named no limit. */
  readonly timeoutSeconds: number | undefined;
  /** PID namespace, for example `host`. */
  readonly pidMode: string | undefined;
  /** Network namespace, for example `host`. */
  readonly networkMode: string | undefined;
  /** Command to run in the same image when the action timed out; empty: none. */
  readonly onTimeout: readonly string[];
  /** Command to run in the same image when the action did not succeed; empty: none. */
  readonly onFailure: readonly string[];
}

/**
 * Which action an event or a log line is about. Never the action itself: its environment may hold
 * secrets.
 */
export interface ActionName {
  readonly workflowId: string;
  readonly taskName: string;
  readonly name: string;
  readonly id: string;
}

/** How an action ended. */
export type Verdict = 'SUCCESS' | 'FAILED' | 'TIMEOUT';

/** The end of an action. */
export interface Outcome {
  readonly verdict: Verdict;
  /**
   * One paragraph for people: exit code, engine error, last lines of output. Already free of
   * secrets; the transport cuts it to its limit.
   */
  readonly message: string;
  readonly startedAt: Date;
  readonly endedAt: Date;
}

/** What the agent tells the server. */
export type Event =
  | { readonly kind: 'started'; readonly action: Action; readonly at: Date }
  | { readonly kind: 'ended'; readonly action: Action; readonly outcome: Outcome };
