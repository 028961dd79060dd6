import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchesHint, parseHint } from '../../../installer/disk/hints.ts';
import type { Disk } from '../../../installer/disk/lsblk.ts';

const disk: Disk = {
  ...{ path: '/dev/sda', links: ['/dev/disk/by-path/pci-0000:00:1f.2-ata-1', '/dev/disk/by-id/wwn-0x5002538f'] },
  ...{ major: 8, minor: 0, type: 'disk', sizeBytes: 500_107_862_016, sectorSizeBytes: 512, readOnly: false },
  ...{ removable: false, isExternal: false, mayOpen: true, rotational: false, transport: 'sata', vendor: 'ATA' },
  ...{ model: 'Samsung SSD 860 EVO 500GB', serial: 'S3Z1NB0K', wwn: 'naa.5002538f', signature: undefined },
  ...{ members: [], partitions: [], uses: [] },
};

function matches(text: string, properties: Partial<Disk> = {}): boolean {
  const hint = parseHint(text);
  if ('wrong' in hint) assert.fail(hint.wrong);
  return matchesHint(hint, { ...disk, ...properties });
}

for (const [text, expected] of [
  ['model=samsung*', true],
  ['model=*860?EVO*', true],
  ['model=Samsung', false],
  ['model=860', false],
  ['vendor=ata', true],
  ['serial=S3Z1NB0K', true],
  ['wwn=0x5002538F', true],
  ['wwn=naa.5002538f', true],
  ['wwn=0x6*', false],
  ['size=500GB', true],
  ['size=480GB', false],
  ['size>=500GB', true],
  ['size>=501GB', false],
  ['size<1TB,size>400GB', true],
  ['size<=500107862016', true],
  ['size<500107862016', false],
  ['transport=sata', true],
  ['transport=nvme', false],
  ['rotational=no', true],
  ['rotational=yes', false],
  ['rotational=0', true],
  ['path=/dev/sda', true],
  ['path=/dev/disk/by-path/pci-0000:00:1f.2-*', true],
  ['path=sda', false],
  ['model=samsung*,rotational=yes', false],
  [' model = samsung* , size >= 1GB ', true],
] as const) {
  test(`a disk ${expected ? 'matches' : 'does not match'} '${text}'`, () => assert.equal(matches(text), expected));
}

test('a property that is not known matches nothing, not even *', () => {
  for (const text of ['serial=*', 'model=*', 'wwn=*', 'rotational=no', 'transport=*'])
    assert.equal(
      matches(text, {
        ...{ serial: undefined, model: undefined, wwn: undefined, rotational: undefined, transport: undefined },
      }),
      false,
      text,
    );
});

for (const [text, why] of [
  ['', /'' is no condition/],
  ['sda', /'sda' is no condition/],
  ['colour=red', /'colour' is none of model, vendor/],
  ['model=', /'model=' has no value/],
  ['model>=a', /only a size can be compared/],
  ['size>=large', /'large' is no size/],
  ['rotational=perhaps', /neither yes nor no/],
  // Names that every object of JavaScript has.
  ['rotational=constructor', /neither yes nor no/],
  ['size>=5toString', /'5toString' is no size/],
  ['model=a,', /'' is no condition/],
] as const) {
  test(`parseHint() refuses '${text}'`, () => {
    const parsed = parseHint(text);
    assert.match('wrong' in parsed ? parsed.wrong : 'accepted', why);
  });
}
