import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { createCleaner } from '../../text/printable.ts';
import type { ActionName, Verdict } from '../action/action.ts';
import type { LoopEvent } from '../action/observe.ts';
import type { RuntimeEvent } from '../runtime/event.ts';

/** Does not change while the agent runs. */
interface Identity {
  /** Worker ID. */
  readonly machine: string;
  readonly hostName: string;
  /** `host:port`; `undefined` without a server. */
  readonly server: string | undefined;
  readonly version: string;
}

/** What the agent does now. */
export interface Status extends Identity {
  /** Protocol version of the server; `undefined` until it is detected. */
  readonly dialect: string | undefined;
  readonly startedAt: string;
  /** `connecting`: the server has not answered yet, or does not answer any more. */
  readonly state: 'connecting' | 'idle' | 'working';
  /** Why the agent is idle. */
  readonly reason: string | undefined;
  readonly workflow: string | undefined;
  readonly action: CurrentAction | undefined;
  /** The last one that ended. */
  readonly lastAction: { readonly name: string; readonly verdict: Verdict; readonly seconds: number } | undefined;
  /** The latest one last. */
  readonly lastErrors: readonly { readonly at: string; readonly message: string }[];
}

interface CurrentAction {
  readonly name: string;
  readonly task: string;
  readonly image: string;
  readonly startedAt: string;
  readonly phase: 'preparing' | 'pulling' | 'running';
  /** Of the pull. */
  readonly progress: { readonly doneBytes: number; readonly totalBytes: number } | undefined;
}

/** The current status, from events of the loop and the runtime. */
export interface StatusBoard {
  observe(event: LoopEvent): void;
  observeRuntime(event: RuntimeEvent): void;
  current(): Status;
  /** The last lines that actions printed, the latest one last. */
  lastLines(): readonly string[];
  /** Calls the listener after each change. */
  subscribe(listener: () => void): Disposable;
}

export interface StatusBoardOptions extends Identity {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Masks secrets in a text. */
  readonly redact: (text: string) => string;
  /** Protocol version of the server, once it is detected. Default: not shown. */
  readonly dialect?: (() => string | undefined) | undefined;
}

const keptErrors = 10;
const keptLines = 10;
const maxLineCharacters = 500;

/** Makes a board without events. */
export function createStatusBoard({
  clock = systemClock,
  redact: mask,
  dialect,
  ...identity
}: StatusBoardOptions): StatusBoard {
  const redact = createCleaner(mask);
  const startedAt = clock.now().toISOString();
  const listeners = new Set<() => void>();
  let state: Status['state'] = 'connecting';
  let reason: string | undefined;
  let workflow: string | undefined;
  let action: CurrentAction | undefined;
  let lastAction: Status['lastAction'];
  let lastErrors: Status['lastErrors'] = [];
  const lines: string[] = [];

  function changed(): void {
    for (const listener of listeners) listener();
  }

  function fail(message: string): void {
    lastErrors = [...lastErrors, { at: clock.now().toISOString(), message: redact(message) }].slice(-keptErrors);
  }

  return {
    observe(event) {
      switch (event.kind) {
        case 'asked':
          // Most polls change nothing.
          if (state === 'idle' && event.answer === 'idle' && reason === redact(event.reason)) return;
          state = event.answer === 'idle' ? 'idle' : 'working';
          reason = event.answer === 'idle' ? redact(event.reason) : undefined;
          break;
        case 'begun':
          state = 'working';
          workflow = redact(event.action.workflowId);
          action = begin(event.action, event.image, event.at, redact);
          break;
        case 'ended':
          action = undefined;
          // The secrets of the workflow may be forgotten before the lines are read.
          lines.splice(0, lines.length, ...lines.map(redact));
          lastAction = { name: redact(event.action.name), verdict: event.verdict, seconds: event.seconds };
          if (event.verdict !== 'SUCCESS') fail(`${event.action.name}: ${event.verdict}: ${event.message}`);
          break;
        case 'acknowledged':
          if (event.done) workflow = undefined;
          break;
        case 'trouble':
          if (action === undefined) state = 'connecting';
          fail(event.message);
          break;
      }
      changed();
    },
    observeRuntime(event) {
      switch (event.kind) {
        case 'pulling':
          action = action && { ...action, image: redact(event.image), phase: 'pulling' };
          break;
        case 'pull-progress':
          action = action && {
            ...action,
            progress: { doneBytes: event.doneBytes, totalBytes: event.totalBytes },
          };
          break;
        case 'pulled':
          action = action && { ...action, phase: 'preparing', progress: undefined };
          break;
        case 'images-loaded':
          return;
        case 'started':
          action = action && { ...action, phase: 'running', progress: undefined };
          break;
        case 'output':
          lines.push(`[${event.action.name}] ${event.line}`);
          if (lines.length > keptLines) lines.shift();
          break;
        case 'ended':
          return;
        case 'warning':
          fail(`${event.action.name}: ${event.message}`);
          break;
        case 'engine':
          if (!event.reachable) fail(event.message);
          break;
        case 'engine-warning':
          fail(event.message);
          break;
      }
      changed();
    },
    current: () => ({
      ...identity,
      dialect: dialect?.(),
      startedAt,
      state,
      reason,
      workflow,
      action,
      lastAction,
      lastErrors,
    }),
    // Masked when read: an action may print a hundred thousand lines a second.
    lastLines: () => lines.map((line) => redact(line).slice(0, maxLineCharacters)),
    subscribe(listener) {
      listeners.add(listener);
      return { [Symbol.dispose]: () => void listeners.delete(listener) };
    },
  };
}

function begin(
  { name, taskName }: ActionName,
  image: string,
  at: Date,
  redact: (text: string) => string,
): CurrentAction {
  const masked = { name: redact(name), task: redact(taskName), image: redact(image) };
  return { ...masked, startedAt: at.toISOString(), phase: 'preparing', progress: undefined };
}
