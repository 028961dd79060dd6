/** The fuzzer finds the deliberate faults of `targets/faults.ts`. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzInProcess } from './in-process.ts';

const found: Readonly<Record<string, RegExp>> = {
  crash: /^it is not refused by a clear error, but by TypeError: Cannot read properties of/,
  uncaught: /^the process ended by exit code 1: [\s\S]*Error: an error without a listener/,
  hang: /^it has not ended after 1 s of CPU time/,
  wait: /^the process ended by exit code 13: /,
  memory: /^it took more than 256 MiB/,
  heap: /^(?:the process ended by SIGABRT: [\s\S]*JavaScript heap out of memory|it took more than 256 MiB)/,
  prototype: /^a prototype has another property after it/,
};

for (const [name, what] of Object.entries(found)) {
  test(`the fuzzer finds an input that leads to this fault: ${name}`, async () => {
    const limits = { hangsAfterSeconds: 1, maxHeapMiB: 128 };
    const options = { name: `fault-${name}`, seed: 1, maxSeconds: 60, selects: false };
    const { violation } = await fuzzInProcess({ ...options, ...limits });
    assert.match(violation?.what ?? '', what);
    if (name === 'prototype') assert.match(String(violation?.input), /__proto__/);
  });
}
