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
 * Sets the flags of V8 for a process that mostly waits, when the server has answered for the first
 * time. By default V8 collects garbage so seldom that a process which needs 20 MB has 250 MB after
 * some thousand polls. Before that the modules are loaded: with other flags than those that Node
 * was built with, V8 refuses the compiled code of Node's own ninety modules, and the start takes
 * half as long again.
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
  let isSet = false;
  let lines = 0;
  let isCollected = false;
  return {
    observe(event) {
      if (!isSet) {
        isSet = true;
        setFlagsFromString('--optimize-for-size');
        setOptimizingCompilers(false);
      }
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

let exposedCollector: (() => void) | undefined;

/** By the function that `--expose-gc` gives to contexts made after it. */
function collectGarbage(): void {
  if (exposedCollector === undefined) {
    setFlagsFromString('--expose-gc');
    exposedCollector = runInNewContext('gc') as () => void;
  }
  exposedCollector();
}

function setOptimizingCompilers(on: boolean): void {
  for (const compiler of ['opt', 'maglev']) setFlagsFromString(on ? `--${compiler}` : `--no-${compiler}`);
}
