import { equal } from 'node:assert/strict';
import { test } from 'node:test';
import { plainDetails } from '../../../net/grpc/plain-details.ts';

const frame = 'rpc error: code = Unknown desc = ';

for (const [details, plain] of [
  [
    'error reading from backend\nrpc error: code = Internal desc = no such thing',
    'error reading from backend: no such thing',
  ],
  ['first \n\n second', 'first: second'],
  // Frames without text, which end with a space.
  [`first\n${frame}\n${frame}second`, 'first: second'],
  [`${frame}\n${frame}\nlast`, `${frame.trim()}: last`],
] as const) {
  test(`plainDetails() writes ${JSON.stringify(details)} on one line`, () => {
    equal(plainDetails(details), plain);
  });
}
