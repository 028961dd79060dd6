/**
 * A container engine that only keeps a ledger, for tests that start hundreds of agents one after
 * the other.
 *
 * Reproduced of the Docker runtime with its engine: a container goes on running, and ends, without
 * the agent that started it; `run` takes over the container of its action if that was ever started,
 * and removes all others first, also the one of its own that was made and never started; `resume`
 * does only the former; what has ended is kept until `release`. Not reproduced: images, output,
 * limits, stopping a container when the agent stops.
 */
import type { Action, Outcome } from '../../agent/action/action.ts';
import type { Runtime } from '../../agent/runtime/runtime.ts';
import { systemClock } from '../../clock/system.ts';
import type { Ledger } from './ledger.ts';

/** How an action goes. */
export interface Course {
  readonly milliseconds: number;
  readonly exitCode: number;
}

export interface LedgerRuntimeOptions {
  readonly ledger: Ledger;
  readonly courseOf: (action: Action) => Course;
  /** Called when a container was created, when it was started, and when its exit was seen. */
  readonly onStep: (step: 'created' | 'started' | 'ended') => void;
}

/**
 * Of each action that has a container: when it was started, in milliseconds. `undefined`: it was
 * not.
 */
type Containers = ReadonlyMap<string, number | undefined>;

export function createLedgerRuntime({ ledger, courseOf, onStep }: LedgerRuntimeOptions): Runtime {
  const removeAllBut = (kept: string | undefined) => {
    for (const action of containersOf(ledger).keys()) if (action !== kept) ledger.append({ what: 'removed', action });
  };

  async function resume(action: Action, signal: AbortSignal): Promise<Outcome | undefined> {
    const startedAt = containersOf(ledger).get(action.name);
    removeAllBut(startedAt === undefined ? undefined : action.name);
    if (startedAt === undefined) return undefined;
    const { milliseconds, exitCode } = courseOf(action);
    const endedAt = startedAt + milliseconds;
    await systemClock.wait(Math.max(0, endedAt - Date.now()) / 1000, signal);
    onStep('ended');
    return {
      verdict: exitCode === 0 ? 'SUCCESS' : 'FAILED',
      message: `exit code ${exitCode}`,
      startedAt: new Date(startedAt),
      endedAt: new Date(endedAt),
    };
  }

  return {
    async run(action, signal) {
      const adopted = await resume(action, signal);
      if (adopted !== undefined) return adopted;
      ledger.append({ what: 'created', action: action.name });
      onStep('created');
      ledger.append({ what: 'started', action: action.name });
      onStep('started');
      const outcome = await resume(action, signal);
      if (outcome === undefined) throw new Error(`the container of ${action.name} is gone`);
      return outcome;
    },
    resume,
    async discard(action) {
      if (containersOf(ledger).has(action.name)) ledger.append({ what: 'removed', action: action.name });
    },
    async release(action) {
      if (containersOf(ledger).has(action.name)) ledger.append({ what: 'removed', action: action.name });
    },
  };
}

function containersOf(ledger: Ledger): Containers {
  const containers = new Map<string, number | undefined>();
  for (const entry of ledger.entries()) {
    if (entry.what === 'created') containers.set(entry.action, undefined);
    else if (entry.what === 'started') containers.set(entry.action, entry.at);
    else if (entry.what === 'removed') containers.delete(entry.action);
    else if (entry.what === 'power cut' || entry.what === 'restarted') containers.clear();
  }
  return containers;
}
