import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OperationError } from '../../errors/operation-error.ts';

test('the message of an OperationError has no control characters of its target or reason, and no forged lines', () => {
  const { message } = new OperationError({
    ...{ what: 'read', target: 'a\u001b]0;b\u0007c', why: 'x\u009b31m\nSuccess! y', hint: 'try again' },
  });
  assert.equal(message, 'cannot read ac: x\n  Success! y (try again)');
});
