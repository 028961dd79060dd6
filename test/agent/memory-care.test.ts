import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { setFlagsFromString } from 'node:v8';
import { runInThisContext } from 'node:vm';
import type { ActionName } from '../../agent/action/action.ts';
import type { LoopEvent } from '../../agent/action/observe.ts';
import { startMemoryCare } from '../../agent/memory-care.ts';

const action: ActionName = { workflowId: 'w1', taskName: 'task', name: 'install', id: '1' };
const begun: LoopEvent = { kind: 'begun', action, image: 'install', at: new Date(0) };
const ended: LoopEvent = { kind: 'ended', action, verdict: 'SUCCESS', message: '', seconds: 1 };
const idle: LoopEvent = { kind: 'asked', answer: 'idle', reason: '' };
const line = { kind: 'output', action, role: 'action', stream: 'stdout', line: '', continues: false } as const;

after(() => {
  for (const flag of ['--opt', '--maglev', '--no-optimize-for-size']) setFlagsFromString(flag);
});

/**
 * Whether V8 takes the order to optimize a function at its next call: kOptimized of
 * v8/src/runtime/runtime.h. Compiles in this thread, so the answer does not depend on the load.
 *
 * @param order of the compiler TurboFan or Maglev
 */
function takes(order: 'OptimizeFunctionOnNextCall' | 'OptimizeMaglevOnNextCall'): boolean {
  setFlagsFromString('--allow-natives-syntax');
  const status: number = runInThisContext(`
    (() => {
      const sum = (a, b) => a + b;
      %PrepareFunctionForOptimization(sum);
      sum(1, 2);
      %${order}(sum);
      sum(1, 2);
      return %GetOptimizationStatus(sum);
    })()`);
  return (status & 16) !== 0;
}

function optimizes(): boolean {
  const answers = [takes('OptimizeFunctionOnNextCall'), takes('OptimizeMaglevOnNextCall')];
  assert.equal(answers[0], answers[1], 'both compilers are on or both are off');
  return answers[0] === true;
}

test('the optimizing compilers are off for short output, on after 1,000 lines, and off when the action has ended', () => {
  const care = startMemoryCare();
  assert.equal(optimizes(), false, 'before the first action');
  care.observe(begun);
  for (let count = 1; count < 1000; count++) care.observeRuntime(line);
  assert.equal(optimizes(), false, 'after 999 lines');
  care.observeRuntime(line);
  assert.equal(optimizes(), true, 'after 1,000 lines');
  care.observe(ended);
  assert.equal(optimizes(), false, 'after the end of the action');
});

test('lines of one action do not count for the next', () => {
  const care = startMemoryCare();
  for (const _ of [1, 2]) {
    care.observe(begun);
    for (let count = 1; count < 1000; count++) care.observeRuntime(line);
    care.observe(ended);
  }
  assert.equal(optimizes(), false);
});

test('garbage is collected at the first idle poll, and at the first one after each action', () => {
  let collections = 0;
  const care = startMemoryCare(() => {
    collections += 1;
  });
  for (const event of [idle, idle, begun, ended, idle, idle]) care.observe(event);
  assert.equal(collections, 2);
});

test('what is no longer reachable is collected', async () => {
  const collected = Promise.withResolvers<void>();
  const registry = new FinalizationRegistry(() => collected.resolve());
  registry.register({}, undefined);
  startMemoryCare().observe(idle);
  await collected.promise;
});
