import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assessIgnition } from '../../../../installer/configure/ignition/assess.ts';
import { findIgnition, ignitionOf } from '../../../../installer/configure/ignition/releases.ts';

const config = (version: string) => Buffer.from(JSON.stringify({ ignition: { version } }));

test('ignitionOf() knows the Ignition of the releases of Flatcar', () => {
  const releases = [
    ['3510.2.8', '2.14.0'],
    ['3602.2.3', '2.15.0'],
    ['4081.3.6', '2.19.0'],
    ['4230.2.1', '2.20.0'],
    ['4459.2.4', '2.22.0'],
    ['4593.2.5', '2.24.0'],
    ['4628.1.2', '2.24.0'],
    ['4694.0.0', '2.24.0-r2'],
    ['4790.0.0', '2.24.0-r2'],
    ['4799.0.0+nightly-20260821-2100', '2.26.0'],
  ] as const;
  for (const [version, ignition] of releases) {
    assert.deepEqual(ignitionOf({ version, channel: 'stable' }), { ignition: findIgnition(ignition) }, version);
  }
  assert.equal(ignitionOf({ version: '3374.2.5', channel: 'stable' }), undefined);
});

test('ignitionOf() is in doubt about the newest release of a channel, and about those after its table', () => {
  const found = ignitionOf({ version: 'current', channel: 'stable' });
  assert.deepEqual([found?.ignition.version, typeof found?.doubt], ['2.24.0', 'string']);
  assert.deepEqual(ignitionOf({ version: 'current-2024', channel: 'lts' }), { ignition: findIgnition('2.19.0') });
  assert.equal(ignitionOf({ version: 'current-2022', channel: 'lts' }), undefined);
  assert.match(ignitionOf({ version: '5000.0.0', channel: 'alpha' })?.doubt ?? '', /5000\.0\.0 is newer/);
  assert.equal(ignitionOf({ version: 'current', channel: 'edge' }), undefined);
});

test('findIgnition() takes the revision of Flatcar into account', () => {
  const found = ['2.24.0', '2.24.0-r1', '2.24.0-r4', '2.19.0-r1', '2.23.0', 'x'].map(
    (version) => findIgnition(version)?.version,
  );
  assert.deepEqual(found, ['2.24.0', '2.24.0', '2.24.0-r2', '2.19.0', undefined, undefined]);
});

test('assessIgnition() takes the rules of the release', () => {
  const verdict = (format: string, version: string) =>
    assessIgnition(config(format), { version, channel: 'stable' }).check.verdict;
  assert.equal(verdict('3.6.0', '4593.2.5'), 'reject');
  assert.equal(verdict('3.6.0', '4799.0.0'), 'accept');
  assert.equal(verdict('3.6.0-experimental', '4593.2.5'), 'accept');
  assert.equal(verdict('3.5.0', '4081.3.6'), 'reject');
});

test('assessIgnition() warns where the release may have another Ignition that disagrees', () => {
  const current = { version: 'current', channel: 'stable' };
  const refused = assessIgnition(config('3.6.0'), current);
  assert.deepEqual([refused.check.verdict, refused.ignition.version], ['reject', '2.24.0']);
  assert.match(refused.doubts.join(), /may have a newer one, and Ignition 2\.26\.0 accepts this config$/);
  const lenient = assessIgnition(config('3.6.0'), current, true);
  assert.deepEqual([lenient.check.verdict, lenient.ignition.version], ['accept', '2.26.0']);
  assert.match(lenient.doubts.join(), /and Ignition 2\.24\.0 refuses this config: \$\.ignition\.version/);
  assert.deepEqual(assessIgnition(config('3.3.0'), current).doubts, []);
});

test('assessIgnition() refuses without a release what every Ignition refuses', () => {
  assert.equal(assessIgnition(config('4.0.0'), undefined).check.verdict, 'reject');
  const { check, doubts } = assessIgnition(config('3.6.0-experimental'), undefined);
  assert.equal(check.verdict, 'accept');
  assert.match(doubts.join(), /^it is not known which Ignition the image has, and Ignition 2\.26\.0 refuses/);
});
