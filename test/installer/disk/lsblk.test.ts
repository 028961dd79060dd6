import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeDevices, parseLsblk } from '../../../installer/disk/lsblk.ts';
import { makeFakeTools } from '../../sandbox/fake-tools.ts';

const sda = { name: 'sda', path: '/dev/sda', 'maj:min': '8:0', type: 'disk', size: 20e9 };
const report = (...devices: unknown[]) => JSON.stringify({ blockdevices: devices });

test('parseLsblk() reads the strings of old versions and the single mount point', () => {
  const old = { size: '20000000000', 'log-sec': '512', ro: '0', rm: '1', mountpoint: '/mnt' };
  const [disk] = parseLsblk(report({ ...sda, ...old }));
  assert.equal(disk?.sizeBytes, 20_000_000_000);
  assert.equal(disk?.readOnly, false);
  assert.equal(disk?.removable, true);
  assert.deepEqual(disk?.uses, [{ kind: 'mounted', device: '/dev/sda', by: '/mnt' }]);
});

for (const [name, odd] of [
  ['without RO and RM', { ro: null, rm: null }],
  ['with a size of null', { size: null }],
  ['of unknown words', { ro: 'perhaps', rm: 7, size: 'large', mountpoints: 'none' }],
] as const) {
  test(`parseLsblk() takes a device ${name}, and the others as they are`, () => {
    const devices = parseLsblk(report({ ...sda, path: '/dev/odd', 'maj:min': '9:9', ...odd }, { ...sda, ro: true }));
    assert.deepEqual(
      devices.map(({ path, readOnly }) => [path, readOnly]),
      [
        ['/dev/odd', undefined],
        ['/dev/sda', true],
      ],
    );
  });
}

test('parseLsblk() leaves out what is no device, and keeps the others', () => {
  const devices = parseLsblk(report({ path: 1 }, 'none', null, { ...sda, children: [7, { name: 'x' }] }));
  assert.deepEqual(
    devices.map(({ path }) => path),
    ['/dev/sda'],
  );
  assert.deepEqual(parseLsblk(''), []);
  assert.throws(() => parseLsblk('lsblk: nothing'));
});

test('parseLsblk() reads a report with control characters in a name, written as they are or as \\x01', () => {
  const raw = report({ ...sda, model: 'BAD?MODEL', serial: 'S?1' });
  for (const control of ['\u0001', '\u001b', '\\x01']) {
    const [disk] = parseLsblk(raw.replaceAll('?', control));
    assert.deepEqual([disk?.model, disk?.serial], ['BAD MODEL', 'S 1']);
  }
  const [kept] = parseLsblk(report({ ...sda, model: 'a\\x01' }));
  assert.equal(kept?.model, 'a\\x01', 'an escaped backslash');
});

test('describeDevices() asks older versions for the columns that they have', async () => {
  // As util-linux 2.32 answers: neither PATH nor MOUNTPOINTS.
  const script = `case "$*" in
    *PATH*) echo "lsblk: unknown column: PATH,MAJ:MIN,TYPE" >&2; exit 1 ;;
    *MOUNTPOINTS*) echo "lsblk: unknown column: MOUNTPOINTS,MOUNTPOINT" >&2; exit 1 ;;
  esac
  echo '{"blockdevices": [{"name":"sda", "maj:min":"8:0", "type":"disk", "size":"20000000000", "ro":"0", "rm":"0", "mountpoint":"/data"}]}'`;
  await using tools = await makeFakeTools({ lsblk: script });
  const before = process.env['PATH'];
  process.env['PATH'] = tools.path;
  try {
    const [disk] = await describeDevices(undefined, undefined);
    assert.deepEqual([disk?.path, disk?.uses[0]?.by], ['/dev/sda', '/data']);
    assert.equal((await tools.calls('lsblk')).length, 3);
  } finally {
    process.env['PATH'] = before;
  }
});
