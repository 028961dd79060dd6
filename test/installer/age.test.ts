import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compareVersions, isSameVersion, refuseOlder } from '../../installer/age.ts';

const signedBy = { primaryFingerprint: 'A', signingFingerprint: 'B', created: new Date('2025-06-01T00:00:00Z') };

test('compareVersions() compares by number', () => {
  assert.ok(compareVersions('999.0.0', '4152.2.1') < 0);
  assert.ok(compareVersions('4152.2.10', '4152.2.9') > 0);
  assert.equal(compareVersions('4152.2.1+build', '4152.2.1'), 0);
});

test('isSameVersion() compares versions only, not names of directories', () => {
  assert.ok(!isSameVersion('1.0.0', '9.9.9'));
  assert.ok(isSameVersion('1.0.0', '1.0.0'));
  assert.ok(isSameVersion('1.0.0', 'current-2024'));
});

test('refuseOlder() refuses an older signature, and an image without one', () => {
  const oldest = { kind: 'date', date: new Date('2025-10-01') } as const;
  assert.throws(
    () => refuseOlder('x', oldest, { signedBy, version: '9.9.9' }),
    /cannot install x: it was signed at 2025-06-01T00:00:00\.000Z, before 2025-10-01T00:00:00\.000Z \(/,
  );
  assert.throws(() => refuseOlder('x', oldest, { signedBy: undefined, version: '9.9.9' }), /age is not known/);
  refuseOlder('x', { kind: 'date', date: new Date('2025-01-01') }, { signedBy, version: undefined });
});

test('refuseOlder() refuses an older version, and one that is only claimed', () => {
  const oldest = { kind: 'version', version: '4152.2.1' } as const;
  assert.throws(
    () => refuseOlder('x', oldest, { signedBy, version: '4152.2.0' }),
    /it is version 4152\.2\.0, older than 4152\.2\.1/,
  );
  assert.throws(() => refuseOlder('x', oldest, { signedBy, version: undefined }), /cannot be read from the disk/);
  refuseOlder('x', oldest, { signedBy, version: '4230.0.0' });
  refuseOlder('x', undefined, { signedBy: undefined, version: undefined });
});
