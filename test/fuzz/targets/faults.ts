/** Deliberate faults, none of which the seeds show: the fuzzer must find each. */
import type { Target } from '../target.ts';

const seeds = ['{"a":{"b":1},"c":[2]}'];
const refusals = [SyntaxError];

/** JSON that is read without a look at what it is. */
const crash: Target = {
  ...{ name: 'fault-crash', seeds, refusals },
  check(input) {
    const value = JSON.parse(input.toString()) as { readonly a: { readonly b: number } };
    value.a.b.toFixed();
  },
};

/** Of a stream, for example: no caller is there any more. */
const uncaught: Target = {
  ...{ name: 'fault-uncaught', seeds },
  check(input) {
    if (input.includes('__proto__'))
      setImmediate(() => {
        throw new Error('an error without a listener');
      });
  },
};

/** A loop that counts on the end of a text. */
const hang: Target = {
  ...{ name: 'fault-hang', seeds },
  check(input) {
    for (let offset = 0; offset < input.length; ) offset += input[offset] === 0 ? 0 : 1;
  },
};

/** A wait for an event that does not come. */
const wait: Target = {
  ...{ name: 'fault-wait', seeds },
  check: (input) => (input.includes('\0') ? new Promise(() => {}) : undefined),
};

/** All of it is kept while it is read, outside of the heap. */
const memory: Target = {
  ...{ name: 'fault-memory', seeds },
  check(input) {
    const kept: Buffer[] = [];
    for (let offset = 0; offset < input.length; ) {
      if (input[offset] === 0) kept.push(Buffer.alloc(1024 * 1024, 1));
      else offset++;
    }
  },
};

/** The same in the heap. */
const heap: Target = {
  ...{ name: 'fault-heap', seeds },
  check(input) {
    const kept: number[][] = [];
    for (let offset = 0; offset < input.length; ) {
      if (input[offset] === 0) kept.push(Array<number>(1000).fill(offset));
      else offset++;
    }
  },
};

/** Settings of one object are written over those of another, key by key. */
const prototype: Target = {
  ...{ name: 'fault-prototype', seeds, refusals },
  check(input) {
    const merge = (target: Record<string, unknown>, source: Record<string, unknown>) => {
      for (const [name, value] of Object.entries(source)) {
        const known = target[name];
        if (isObject(value) && isObject(known)) merge(known, value);
        else target[name] = value;
      }
    };
    const value: unknown = JSON.parse(input.toString());
    if (isObject(value)) merge({}, value);
  },
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null;
}

export const faultTargets: readonly Target[] = [crash, uncaught, hang, wait, memory, heap, prototype];
