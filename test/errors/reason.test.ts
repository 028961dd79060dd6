import assert from 'node:assert/strict';
import { test } from 'node:test';
import { reasonOf } from '../../errors/reason.ts';

test('reasonOf() is the message of an error, or its name where it has none', () => {
  assert.equal(reasonOf(new Error('the disk is full')), 'the disk is full');
  assert.equal(reasonOf(new TypeError('')), 'TypeError');
  assert.equal(reasonOf('no error'), 'no error');
});

test('reasonOf() lists the reasons of attempts that have no message in common', () => {
  const attempts = new AggregateError([new Error('connect ECONNREFUSED ::1:80'), new Error('connect ENETUNREACH')], '');
  assert.equal(reasonOf(attempts), 'connect ECONNREFUSED ::1:80; connect ENETUNREACH');
  assert.equal(reasonOf(new AggregateError([new Error('one')], 'two bad signatures')), 'two bad signatures');
});
