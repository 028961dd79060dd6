import { deepEqual } from 'node:assert/strict';
import { test } from 'node:test';
import { stopSignalNumber } from '../../../../agent/runtime/containerd/stop-signal.ts';

/** What `kill -l NAME` of bash 5.2 prints. */
const known: Readonly<Record<string, number>> = {
  TERM: 15,
  SIGKILL: 9,
  sigusr1: 10,
  SIGRTMIN: 34,
  'RTMIN+3': 37,
  'SIGRTMIN+15': 49,
  'SIGRTMAX-14': 50,
  RTMAX: 64,
};

test('stopSignalNumber() knows the names of all signals', () => {
  for (const [name, number] of Object.entries(known)) deepEqual(stopSignalNumber(name), number, name);
});

test('stopSignalNumber() takes numbers, and SIGTERM in place of what is no signal', () => {
  for (const number of [9, 37]) deepEqual(stopSignalNumber(`${number}`), number);
  for (const name of [undefined, '0', '65', '-1', 'SIGNONE', 'RTMIN-1', 'RTMIN+31', 'RTMAX-31', 'RTMAX+1'])
    deepEqual(stopSignalNumber(name), 15, name);
});
