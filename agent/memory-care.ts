// With other flags than those that Node was built with, V8 refuses the compiled code of Node's own
// modules: what clients of servers and engines need is loaded before the flags are set.
import 'node:cluster';
import 'node:http2';
import 'node:https';
import 'node:stream/consumers';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import type { LoopEvent } from './action/observe.ts';
import type { RuntimeEvent } from './runtime/event.ts';

/** Adapts V8 to what the agent does, from the events of the loop and of the runtime. */
export interface MemoryCare {
  observe(event: LoopEvent): void;
  observeRuntime(event: RuntimeEvent): void;
}

/** For an action that prints fewer lines, the compilers cost more CPU than they save. */
const linesWorthCompiling = 1000;

/**
 * Sets the flags of V8 for a process that mostly waits. By default V8 collects garbage so seldom
 * that a process which needs 20 MB has 250 MB after some thousand polls.
 *
 * - The optimizing compilers leave some 20 MB behind and take a tenth of the CPU of an action that
 *   prints little. An agent that copies much output is four times as fast with them. They are off
 *   until an action has printed 1,000 lines, and off again when it has ended.
 * - The start and each action leave some 10 MB of garbage, which V8 would collect when as much
 *   again has come up: hours later, in an agent that waits for work. The first idle poll after them
 *   collects it.
 *
 * @param collect collects all garbage
 */
export function startMemoryCare(collect: () => void = collectGarbage): MemoryCare {
  setFlagsFromString('--optimize-for-size');
  setOptimizingCompilers(false);
  let lines = 0;
  let isCollected = false;
  return {
    observe(event) {
      if (event.kind === 'begun' || event.kind === 'ended') {
        if (lines >= linesWorthCompiling) setOptimizingCompilers(false);
        lines = 0;
      }
      if (event.kind === 'begun') isCollected = false;
      if (event.kind !== 'asked' || event.answer !== 'idle' || isCollected) return;
      isCollected = true;
      collect();
    },
    observeRuntime({ kind }) {
      if (kind !== 'output') return;
      lines += 1;
      if (lines === linesWorthCompiling) setOptimizingCompilers(true);
    },
  };
}

let exposedCollector: NodeJS.GCFunction | undefined;

/**
 * By the function that `--expose-gc` gives to contexts made after it. The first collection also
 * gives back what the start has left unused between what is still in use: 8 MiB.
 */
function collectGarbage(): void {
  if (exposedCollector === undefined) {
    setFlagsFromString('--expose-gc');
    exposedCollector = runInNewContext('gc') as NodeJS.GCFunction;
    exposedCollector({ type: 'major', execution: 'sync', flavor: 'last-resort' });
  } else exposedCollector();
}

function setOptimizingCompilers(on: boolean): void {
  for (const compiler of ['opt', 'maglev']) setFlagsFromString(on ? `--${compiler}` : `--no-${compiler}`);
}
