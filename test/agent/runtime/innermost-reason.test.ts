import assert from 'node:assert/strict';
import { test } from 'node:test';
import { innermostReason } from '../../../agent/runtime/innermost-reason.ts';

test('innermostReason() is the reason without what containerd, its shim and runc put around it', () => {
  const message =
    'failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: exec: "/x": not found: unknown';
  assert.equal(innermostReason(message), 'exec: "/x": not found');
  assert.equal(
    innermostReason('OCI runtime create failed: no space left on device: unknown'),
    'no space left on device',
  );
  assert.equal(innermostReason('Get "https://registry.example/v2/": dial tcp: refused'), 'dial tcp: refused');
  assert.equal(innermostReason('answer: OCI runtime create failed: x', [/^answer: /]), 'x');
});
