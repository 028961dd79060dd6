/**
 * A server chooses how many secrets an action has, how long they are and what is in them. None of
 * it holds the event loop, nor does what is logged while they are learned.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { createRedactor } from '../../../agent/log/redact.ts';
import { assertLoopIsFree } from '../../sandbox/event-loop.ts';

const KiB = 1024;

/** As much as is in a message of a server. */
const environments: Readonly<Record<string, readonly string[]>> = {
  // Alike, nested and repeated: the worst for tables of prefixes and for lists of patterns.
  '10,000 secrets': Array.from(
    { length: 10_000 },
    (_, i) => `TOKEN_${i}=${'canary-'.repeat(3)}${i}-${'a'.repeat(i % 40)}`,
  ),
  '10,000 secrets of 100 characters': Array.from(
    { length: 10_000 },
    (_, i) => `TOKEN_${i}=${`${i}-`.repeat(100).slice(0, 100)}`,
  ),
  'secrets of 127 KiB': Array.from(
    { length: 8 },
    (_, i) => `TOKEN_${i}=${`${i}x`.repeat(127 * KiB).slice(0, 127 * KiB)}`,
  ),
  'documents of thousands of secrets': Array.from(
    { length: 8 },
    (_, i) => `TOKEN_${i}=${JSON.stringify(Array.from({ length: 4000 }, (_, j) => ({ token: `${i}-${j}-pass` })))}`,
  ),
  'thousands of URLs': Array.from(
    { length: 8 },
    (_, i) => `MIRROR_${i}=${Array.from({ length: 8000 }, (_, j) => `://${i}:${j}pass@`).join('')}`,
  ),
  'thousands of lines': Array.from(
    { length: 8 },
    (_, i) => `TOKEN_${i}=${Array.from({ length: 10_000 }, (_, j) => `${i}-${j}-pass`).join('\n')}`,
  ),
};

async function learn(name: string, environment: readonly string[]): Promise<void> {
  const redactor = createRedactor();
  redactor.learn('of-the-machine');
  await redactor.learnEnvironment(['TOKEN=of-another-workflow'], 'w0');
  let isLearned = false;
  const logging = async () => {
    for (; !isLearned; await pause(1)) assert.equal(redactor.redact('of-the-machine of-another-workflow'), '*** ***');
  };
  await assertLoopIsFree(
    name,
    async () => {
      const logged = logging();
      await redactor.learnEnvironment(environment, 'w1');
      isLearned = true;
      await logged;
      redactor.redact('x'.repeat(4000));
      await redactor.forgetWorkflows('w1');
      assert.equal(redactor.redact('of-the-machine of-another-workflow'), '*** of-another-workflow');
    },
    512,
  );
}

for (const [name, environment] of Object.entries(environments)) {
  test(`an action with ${name} does not hold the agent up`, async () => {
    // Processors that are shared with other work are slower: a fault holds the loop each time.
    for (let attempt = 1; ; attempt++) {
      try {
        return await learn(name, environment);
      } catch (error) {
        if (attempt === 3) throw error;
      }
    }
  });
}
