/** Simulates the worlds that its parent names, one after another. */
import { simulate } from './agent.ts';
import type { WorldRequest } from './worlds.ts';

// Errors are part of the simulation; where they were made is not shown.
Error.stackTraceLimit = 0;

process.on('message', ({ seed, options }: WorldRequest) => {
  void simulate(seed, options).then((summary) => process.send?.(summary));
});
