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

/** @returns the summaries, as the worlds end; to stop early, leave the loop */
export async function* simulateAll(
  seeds: readonly number[],
  options: SimulationOptions,
): AsyncGenerator<WorldSummary, void, undefined> {
  const left = seeds.values();
  const ended: WorldSummary[] = [];
  let change = Promise.withResolvers<void>();
  let failure: Error | undefined;
  const announce = () => {
    change.resolve();
    change = Promise.withResolvers();
  };
  const processes = Array.from({ length: availableParallelism() }, () => {
    const child = fork(join(import.meta.dirname, 'world-process.ts'), { execArgv: nodeOptions });
    const next = () => {
      const { value: seed, done } = left.next();
      if (done === true) child.disconnect();
      else child.send({ seed, options } satisfies WorldRequest);
    };
    child.on('message', (summary: WorldSummary) => {
      ended.push(summary);
      announce();
      next();
    });
    next();
    return { child, exited: once(child, 'exit') };
  });
  let running = processes.length;
  for (const { exited } of processes)
    void exited.then(([code, signal]) => {
      running -= 1;
      if (code !== 0) failure ??= new Error(`a process of the simulation ended with ${code ?? signal}`);
      announce();
    });
  try {
    for (;;) {
      const { promise } = change;
      yield* ended.splice(0);
      if (failure !== undefined) throw failure;
      if (running === 0 && ended.length === 0) return;
      if (ended.length === 0) await promise;
    }
  } finally {
    for (const { child } of processes) child.kill();
    await Promise.all(processes.map(({ exited }) => exited));
  }
}
