/**
 * Simulates worlds in several processes, which have no state in common: a seed decides all that
 * happens in its world, wherever it runs.
 */
import { fork } from 'node:child_process';
import { once } from 'node:events';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import type { SimulationOptions, WorldSummary } from './agent.ts';

/** What a process gets: a world to simulate. */
export interface WorldRequest {
  readonly seed: number;
  readonly options: SimulationOptions;
}

/** The simulation makes garbage quickly: a tenth of the time would be spent on it. */
const nodeOptions = ['--max-semi-space-size=64'];

/** Agents that were killed wait without end, and Node keeps what their signals hold. */
const worldsOfProcess = 40;

/** @returns the summaries, as the worlds end; to stop early, leave the loop */
export async function* simulateAll(
  seeds: readonly number[],
  options: SimulationOptions,
): AsyncGenerator<WorldSummary, void, undefined> {
  const ended: WorldSummary[] = [];
  const stop = new AbortController();
  let change = Promise.withResolvers<void>();
  let running = availableParallelism();
  let failure: unknown;
  const announce = () => {
    change.resolve();
    change = Promise.withResolvers();
  };
  const left = seeds.values();
  const lane = async () => {
    try {
      for (let isDone = false; !isDone && !stop.signal.aborted; )
        isDone = await simulateSome(left, options, stop.signal, (summary) => {
          ended.push(summary);
          announce();
        });
    } catch (error) {
      failure ??= error;
    }
    running -= 1;
    announce();
  };
  const lanes = Array.from({ length: running }, lane);
  try {
    for (;;) {
      const { promise } = change;
      yield* ended.splice(0);
      if (failure !== undefined) throw failure;
      if (running === 0 && ended.length === 0) return;
      if (ended.length === 0) await promise;
    }
  } finally {
    stop.abort();
    await Promise.all(lanes);
  }
}

/**
 * Simulates the next worlds in a process of their own.
 * @returns whether none is left
 */
async function simulateSome(
  seeds: Iterator<number, undefined>,
  options: SimulationOptions,
  signal: AbortSignal,
  onSummary: (summary: WorldSummary) => void,
): Promise<boolean> {
  const child = fork(join(import.meta.dirname, 'world-process.ts'), { execArgv: nodeOptions });
  const exited = once(child, 'exit');
  const kill = () => void child.kill();
  signal.addEventListener('abort', kill, { once: true });
  let isDone = false;
  let count = 0;
  const next = () => {
    const seed = count === worldsOfProcess ? undefined : seeds.next().value;
    isDone = seed === undefined && count < worldsOfProcess;
    count += 1;
    if (seed === undefined) child.disconnect();
    else child.send({ seed, options } satisfies WorldRequest);
  };
  child.on('message', (summary: WorldSummary) => {
    onSummary(summary);
    next();
  });
  next();
  const [code, ended] = await exited;
  signal.removeEventListener('abort', kill);
  if (code !== 0 && !signal.aborted) throw new Error(`a process of the simulation ended with ${code ?? ended}`);
  return isDone;
}
