import assert from 'node:assert/strict';
import { availableParallelism } from 'node:os';
import { test } from 'node:test';
import { execa } from 'execa';
import { noFindings } from '../../../../installer/configure/ignition/findings.ts';
import { whyIgnored } from '../../../../installer/configure/ignition/ignored.ts';
import { JsonSyntaxError, parseJson } from '../../../../installer/configure/ignition/json.ts';
import { parseConfig } from '../../../../installer/configure/ignition/parse.ts';
import { findIgnition } from '../../../../installer/configure/ignition/releases.ts';

/*
 * Debian's ignition-validate is Ignition 2.14 itself, which knows 3.0 to 3.3: every config below is
 * given to both, and both must come to the same verdict. The keys of the configs name their
 * subject; none is labelled good or bad by hand.
 */

const versions = ['3.0.0', '3.1.0', '3.2.0', '3.3.0'];
const sha256 = `sha256-${'a'.repeat(64)}`;
const sha512 = `sha512-${'a'.repeat(128)}`;
const guid = '01234567-89AB-CDEF-EDCB-A98765432101';

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };

/** A value at a path in which `0` stands for the only element of a list. */
function at(path: string, value: Json): { [key: string]: Json } {
  const build = (keys: readonly string[]): Json => {
    const [key, ...rest] = keys;
    if (key === undefined) return value;
    return key === '0' ? [build(rest)] : { [key]: build(rest) };
  };
  const built = build(path.split('.'));
  assert.ok(typeof built === 'object' && built !== null && !Array.isArray(built));
  return built;
}

/** Objects and lists are joined, other values replaced. */
function join(one: Json | undefined, other: Json): Json {
  if (Array.isArray(one) && Array.isArray(other)) {
    const length = Math.max(one.length, other.length);
    return Array.from({ length }, (_, index) => {
      const second = other[index];
      return second === undefined ? (one[index] ?? null) : join(one[index], second);
    });
  }
  if (!isObject(one) || !isObject(other)) return other;
  const joined = { ...one };
  for (const [key, value] of Object.entries(other)) joined[key] = join(one[key], value);
  return joined;
}

function isObject(value: Json | undefined): value is { [key: string]: Json } {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** What an entry needs to be good, by the path of the entry. */
const entries: Record<string, Json> = {
  'storage.files.0': { path: '/etc/motd' },
  'storage.directories.0': { path: '/srv' },
  'storage.links.0': { path: '/etc/link', target: '/etc/motd' },
  'storage.disks.0': { device: '/dev/sda' },
  'storage.disks.0.partitions.0': { number: 1 },
  'storage.raid.0': { name: 'data', level: 'raid1', devices: ['/dev/sda', '/dev/sdb'] },
  'storage.filesystems.0': { device: '/dev/sda1', format: 'ext4' },
  'storage.luks.0': { name: 'data', device: '/dev/sdb' },
  'storage.luks.0.clevis.tang.0': { url: 'https://tang.example.com', thumbprint: 'abc' },
  'storage.luks.0.clevis.custom': { pin: 'tpm2', config: '{}' },
  'systemd.units.0': { name: 'a.service' },
  'systemd.units.0.dropins.0': { name: 'b.conf' },
  'passwd.users.0': { name: 'core' },
  'passwd.groups.0': { name: 'wheel' },
  'ignition.config.merge.0': { source: 'https://example.com/a.ign' },
  'ignition.config.replace': { source: 'https://example.com/a.ign' },
  'ignition.security.tls.certificateAuthorities.0': { source: 'https://example.com/ca.pem' },
  'storage.files.0.contents': { source: 'https://example.com/motd' },
  'storage.files.0.append.0': { source: 'data:,hello' },
};

/** Completes what `value` at `path` stands in. */
function configWith(path: string, value: Json): Json {
  let config: Json = {};
  for (const [entry, content] of Object.entries(entries)) {
    if (path.startsWith(`${entry}.`)) config = join(config, at(entry, content));
  }
  return join(config, at(path, value));
}

/** For every key, values that are good, at the edge, wrong, of a wrong kind. */
const values: Record<string, readonly Json[]> = {
  'ignition.config.merge.0.source': ['data:,{}', '', 'ftp://example.com', 7],
  'ignition.config.merge.0.verification.hash': [sha512, sha256, 'md5-0'],
  'ignition.config.merge.0.compression': ['gzip', '', 'xz'],
  'ignition.config.merge.0.unknown': [1],
  'ignition.config.replace.source': ['https://example.com', '', 'nothing', null],
  'ignition.config.replace.verification.hash': [sha512, 'sha512-12'],
  'ignition.security.tls.certificateAuthorities.0.source': ['data:,x', '', null, 'oops:x'],
  'ignition.timeouts.httpResponseHeaders': [10, 0, -1, '10', 1.5],
  'ignition.timeouts.httpTotal': [30, true],
  'ignition.proxy.httpProxy': ['http://proxy:80', 'https://proxy', 'socks5://proxy', 'proxy', '', ':x', 1],
  'ignition.proxy.httpsProxy': ['http://proxy', 'https://proxy', 'ftp://proxy'],
  'ignition.proxy.noProxy': [['a', 'b'], ['a', 'a'], 'a'],
  'kernelArguments.shouldExist': [['quiet'], ['quiet', 'quiet'], 'quiet', [1], null],
  'kernelArguments.shouldNotExist': [['quiet'], [null], {}],
  'passwd.users.0.name': ['core', '', 1],
  'passwd.users.0.uid': [1000, '1000', -1],
  'passwd.users.0.passwordHash': ['$6$a', false],
  'passwd.users.0.sshAuthorizedKeys': [['ssh-rsa a', 'ssh-rsa b'], ['ssh-rsa a', 'ssh-rsa a'], 'ssh-rsa a'],
  'passwd.users.0.groups': [['a', 'b'], ['a', 'a'], [7]],
  'passwd.users.0.system': [true, 'true'],
  'passwd.users.0.shouldExist': [false, 0],
  'passwd.users.0.homeDir': ['relative', []],
  'passwd.groups.0.gid': [5, 5.5, '5'],
  'passwd.groups.0.shouldExist': [true, 'no'],
  'passwd.groups.0.souce': ['x'],
  'storage.files.0.path': ['/a', 'a', '', '/a/', '/a//b', '/a/../b', '/.', '/', 1, null],
  'storage.files.0.mode': [420, 0, 4095, 4096, -1, '0644', 1.5, 2048, null],
  'storage.files.0.overwrite': [true, false, 'yes'],
  'storage.files.0.user.id': [0, 500, 'core'],
  'storage.files.0.user.name': ['core', '', 1],
  'storage.files.0.user': [{ id: 1, name: 'core' }, { id: 1, name: '' }, 'core'],
  'storage.files.0.group': [{ id: 1, name: 'core' }, { name: 'core' }],
  'storage.files.0.contents.source': [
    ...['', 'http://example.com', 'HTTPS://example.com', 'tftp://example.com/a', 's3://bucket/key', 'gs://bucket/key'],
    ...['s3://bucket/key?versionId=', 's3://bucket/key?versionId=1', 'arn:aws:s3:::bucket/key', 'file:///etc/motd'],
    ...[
      'data:,',
      'data:,a%20b',
      'data:,a b',
      'data:,%zz',
      'data:,%2',
      'data:,a#b',
      'data:,a[b',
      'data:,\u00e4',
      'data:x',
    ],
    ...['data:;base64,aGVsbG8=', 'data:;base64,aGVsbG8', 'data:;base64,aGVs*G8=', 'data:;base64,====', 'data:;base64,'],
    ...['data:;base64,aGVsbG9=', 'data:;base64,a=Vs', 'data:;base64;x=y,aGVs', 'data:;x=y;base64,aGVs'],
    ...[
      'data:text/plain,x',
      'data:text/plain;charset=utf-8,x',
      'data:text/plain;charset=utf-8;base64,aGVs',
      'data:text,x',
    ],
    ...[
      'data:foo/bar,x',
      'data:x-foo/bar,x',
      'data:text/,x',
      'data:text/plain;charset="a,b",x',
      'data:text/plain;a=%zz,x',
    ],
    ...[
      'DATA:,x',
      'data:base64,x',
      'data:;gzip,x',
      'data:text/plain;,x',
      'data:text/plain;a=,x',
      'data:text/plain;a="b,x',
    ],
    ...['://x', ':x', 'http://[::1]/', 'http://[::1', 'http://a:port/', 'http://a:80/', 'http://a b/', 'http://a/%zz'],
    ...[
      'http://a%41/',
      'http://us er@a/',
      'http://u:p@a/',
      'http:a',
      'http://a/?%zz',
      'http://a/#%zz',
      '/x',
      'a/b:c',
      'a:b',
    ],
    ...[
      '1a://x',
      'http://a/\n',
      'http://a<b/',
      'http://a{b/',
      'http://[fe80::1%25eth0]/',
      'http://[fe80::1%eth0]/',
      'http://\u00e4/',
    ],
    ...[7, true, ['http://a']],
  ],
  'storage.files.0.contents.compression': ['gzip', '', 'bzip2', 1],
  'storage.files.0.contents.verification.hash': [
    ...[
      sha512,
      sha256,
      'sha512',
      '',
      '-',
      'sha512-',
      'md5-abc',
      `sha512-${'a'.repeat(127)}`,
      `sha256-${'a'.repeat(63)}`,
    ],
    ...[`sha512-${'z'.repeat(128)}`, `SHA512-${'a'.repeat(128)}`, 5],
  ],
  'storage.files.0.contents.httpHeaders': [
    [{ name: 'a', value: 'b' }],
    [{ name: 'a' }],
    [{ name: 'a', value: '' }],
    [{ value: 'b' }],
    [
      { name: 'a', value: 'b' },
      { name: 'a', value: 'c' },
    ],
    [{ name: 'a' }, { name: 'A' }],
    [],
    'a: b',
  ],
  'storage.files.0.append': [[], [{}], [{ source: 'data:,a' }, { source: 'data:,a' }], [{ source: 'x:y' }], {}],
  'storage.directories.0.mode': [493, 512, 70000],
  'storage.directories.0.path': ['/srv', 'srv', '/srv/'],
  'storage.directories.0.contents': [{}],
  'storage.links.0.target': ['/a', '../a', '', null, 1],
  'storage.links.0.hard': [true, false, 1],
  'storage.links.0.path': ['/a', 'a'],
  'storage.disks.0.device': ['/dev/sda', 'sda', '', '/dev/../sda', 0],
  'storage.disks.0.wipeTable': [true, 'true'],
  'storage.disks.0.partitions.0.number': [0, 1, 128, 129, -1, '1', 1.5],
  'storage.disks.0.partitions.0.label': ['ROOT', '', 'a:b', 'a'.repeat(36), 'a'.repeat(37), '\u00e4'.repeat(19), 1],
  'storage.disks.0.partitions.0.guid': [guid, guid.toLowerCase(), '', 'x', `${guid}\n`, null],
  'storage.disks.0.partitions.0.typeGuid': [guid, guid.slice(1)],
  'storage.disks.0.partitions.0.sizeMiB': [0, 100, -1, '100', 0.5],
  'storage.disks.0.partitions.0.startMiB': [0, 1, true],
  'storage.disks.0.partitions.0.shouldExist': [true, false, 'false'],
  'storage.disks.0.partitions.0.resize': [true, 'true'],
  'storage.disks.0.partitions.0.wipePartitionEntry': [true, 1],
  'storage.raid.0.level': [
    'linear',
    'raid0',
    '0',
    'stripe',
    'raid1',
    'mirror',
    '4',
    'raid5',
    '6',
    'raid10',
    'raid7',
    '',
    5,
    null,
  ],
  'storage.raid.0.devices': [[], ['/dev/sda'], ['sda'], [''], null, '/dev/sda'],
  'storage.raid.0.spares': [0, 1, 'one'],
  'storage.raid.0.options': [['--x', '--x'], '--x'],
  'storage.raid.0.name': ['', 'a b', 1],
  'storage.filesystems.0.format': ['ext4', 'btrfs', 'xfs', 'vfat', 'swap', 'none', 'ext3', 'virtiofs', '', null, 4],
  'storage.filesystems.0.device': ['/dev/sda1', 'sda1', ''],
  'storage.filesystems.0.path': ['/var', 'var', '/var/', ''],
  'storage.filesystems.0.label': ['a'.repeat(16), 'a'.repeat(17), '', 1],
  'storage.filesystems.0.uuid': ['x', ''],
  'storage.filesystems.0.options': [['-x', '-x'], '-x'],
  'storage.filesystems.0.mountOptions': [['ro', 'ro'], 'ro'],
  'storage.filesystems.0.wipeFilesystem': [true, 'yes'],
  'storage.luks.0.name': ['data', 'a/b', '', 1],
  'storage.luks.0.device': ['/dev/sda', 'sda', '', null],
  'storage.luks.0.label': ['a'.repeat(47), 'a'.repeat(48)],
  'storage.luks.0.keyFile.source': ['data:,key', 'oops', ''],
  'storage.luks.0.clevis': [
    { tpm2: true },
    { custom: {} },
    { custom: {}, tpm2: true },
    { custom: { needsNetwork: true } },
    { custom: { pin: 'tpm2', config: '{}' }, threshold: 1 },
    { custom: { pin: 'tpm2', config: '{}' }, threshold: 0 },
    null,
    true,
  ],
  'storage.luks.0.clevis.custom.pin': ['tang', 'sss', 'usb', ''],
  'storage.luks.0.clevis.custom.config': ['', '{}', {}],
  'storage.luks.0.clevis.tang.0.url': ['http://a', 'ftp://a', '', 'a'],
  'storage.luks.0.clevis.tang.0.thumbprint': ['a', '', null],
  'storage.luks.0.discard': [true, 'unchecked'],
  'systemd.units.0.name': ['a.service', 'a.mount', '.timer', 'a.conf', 'a', '', 'a.service/b', 'a@b.socket', 1],
  'systemd.units.0.enabled': [true, 'true'],
  'systemd.units.0.mask': [true, null, 0],
  'systemd.units.0.contents': [
    ...[
      '',
      '[Unit]',
      '[Unit]\nA=b\n',
      '[Unit\nA=b',
      '[Unit] x\nA=b',
      '[Unit]\nA',
      '[Unit]\nA\n',
      '[Unit]\nA=b\\\nc\n',
      'A=b',
      'garbage',
    ],
    ...[
      '# comment',
      '[Unit]\n; comment \\\nmore\nA=b',
      '[Unit]\r\nA=b\r\n',
      '[Unit]\nA\r=b',
      '[A]\n[B]\nC=',
      '[Unit]\nA=b\\',
      '[]\n=\n',
      '[',
    ],
    ...[
      `[Unit]\nA=${'b'.repeat(2000)}\n`,
      `[Unit]\nA=${'b'.repeat(3000)}\n`,
      `[Unit]\n${'A=b\n'.repeat(800)}A=${'b'.repeat(3000)}\n`,
    ],
    ...[
      `[Unit]\n${'A=b\n'.repeat(1000)}A=${'b'.repeat(9000)}\n`,
      `[Unit]\n${'A=b\n'.repeat(1500)}A=${'b'.repeat(3000)}\nC=d`,
      7,
    ],
  ],
  'systemd.units.0.dropins.0.name': ['a.conf', 'a.service', '', 'a'],
  'systemd.units.0.dropins.0.contents': ['[Service]\nA=b', '[Service', null],
  'storage.disks': [[], {}, null],
  'storage.disks.0.partitions': [
    [{ number: 1 }, { number: 1 }],
    [
      { number: 1, label: 'a' },
      { number: 2, label: 'a' },
    ],
    [{ label: 'a' }, { label: 'b' }],
    [{ label: 'a' }, { label: 'a' }],
    [{}],
    [{ number: 1, shouldExist: false }, { label: 'a' }],
    [{ number: 1, shouldExist: false }, { number: 2 }],
    [{ number: 1, shouldExist: false, label: 'a' }],
    [{ number: 1, shouldExist: false, guid: '' }],
    [{ number: 1, shouldExist: false, sizeMiB: 0 }],
    [
      { number: 1, startMiB: 1, sizeMiB: 10 },
      { number: 2, startMiB: 11, sizeMiB: 10 },
    ],
    [
      { number: 1, startMiB: 1, sizeMiB: 10 },
      { number: 2, startMiB: 10, sizeMiB: 10 },
    ],
    [
      { number: 1, startMiB: 5, sizeMiB: 1 },
      { number: 2, startMiB: 1, sizeMiB: 20 },
    ],
    [
      { number: 1, startMiB: 5, sizeMiB: 0 },
      { number: 2, startMiB: 6, sizeMiB: 0 },
    ],
    [
      { number: 1, startMiB: 5, sizeMiB: 0 },
      { number: 2, startMiB: 1, sizeMiB: 9 },
    ],
    [
      { number: 1, startMiB: 0, sizeMiB: 9 },
      { number: 2, startMiB: 0, sizeMiB: 9 },
    ],
    [
      { number: 1, startMiB: 5, sizeMiB: -9 },
      { number: 2, startMiB: 1, sizeMiB: 9 },
    ],
  ],
  storage: [
    { files: [{ path: '/a' }, { path: '/a' }] },
    { files: [{ path: '/a' }], directories: [{ path: '/a' }] },
    { files: [{ path: '/a' }], links: [{ path: '/a', target: '/b' }] },
    { files: [{ path: '/a/b' }], links: [{ path: '/a', target: '/b' }] },
    { files: [{ path: '/ab' }], links: [{ path: '/a', target: '/b' }] },
    { directories: [{ path: '/a/b' }], links: [{ path: '/a', target: '/b' }] },
    {
      links: [
        { path: '/a', target: '/c' },
        { path: '/a/b', target: '/c' },
      ],
    },
    { files: [{ path: '/a/b' }, { path: '/a' }] },
    { directories: [{ path: '/c' }], links: [{ path: '/a', target: '/c', hard: true }] },
    { directories: [{ path: '/c' }], links: [{ path: '/a', target: '../c', hard: true }] },
    { directories: [{ path: '/c' }], links: [{ path: '/a', target: '/c/', hard: true }] },
    { directories: [{ path: '/c' }], links: [{ path: '/a', target: '/c' }] },
    { files: [{ path: '/a', overwrite: true, contents: { source: '' } }] },
    { files: [{ path: '/a', overwrite: true, contents: {} }] },
    { files: [{ path: '/a', contents: { verification: { hash: sha512 } } }] },
    { files: [{ path: '/a', contents: { source: '', verification: { hash: sha512 } } }] },
    { files: [{ path: '/a', contents: { source: 'data:,a', httpHeaders: [{ name: 'a', value: 'b' }] } }] },
    { files: [{ path: '/a', contents: { httpHeaders: [{ name: 'a', value: 'b' }] } }] },
    { files: [{ path: '/a', contents: { httpHeaders: [] } }] },
    { disks: [{ device: '/dev/sda' }, { device: '/dev/sda' }] },
    { disks: [{}] },
    { raid: [{ name: 'a', level: 'raid0', devices: ['/dev/sda'], spares: 1 }] },
    { raid: [{ name: 'a', level: 'raid1', devices: ['/dev/sda', '/dev/sda'] }] },
    { raid: [1, 2].map(() => ({ name: 'a', level: 'raid1', devices: ['/dev/sda'] })) },
    { filesystems: [{ device: '/dev/sda' }] },
    { filesystems: [{ device: '/dev/sda', path: '/a' }] },
    { filesystems: [{ device: '/dev/sda', label: 'a' }] },
    { filesystems: [{ device: '/dev/sda', mountOptions: ['ro'] }] },
    { filesystems: [{ device: '/dev/sda', options: [] }] },
    { filesystems: [{ device: '/dev/sda' }, { device: '/dev/sda', format: 'xfs' }] },
    { filesystems: [{ device: '/dev/sda', format: 'xfs', label: 'a'.repeat(13) }] },
    { filesystems: [{ device: '/dev/sda', format: 'swap', label: 'a'.repeat(16) }] },
    { filesystems: [{ device: '/dev/sda', format: 'vfat', label: '\u00e4'.repeat(6) }] },
    { filesystems: [{ device: '/dev/sda', format: 'btrfs', label: 'a'.repeat(257) }] },
    {
      luks: [
        { name: 'a', device: '/dev/sda' },
        { name: 'a', device: '/dev/sdb' },
      ],
    },
    { luks: [{ name: 'a', device: '/dev/sda', options: ['-x', '-x'] }] },
    [],
    'files',
    null,
  ],
  systemd: [
    { units: [{ name: 'a.service' }, { name: 'a.service' }] },
    { units: [{ name: 'a.service', dropins: [{ name: 'a.conf' }, { name: 'a.conf' }] }] },
    { units: [{ name: 'a.service', enabled: true, contents: '[Unit]\nA=b' }] },
    { units: [{ name: 'a.service', enabled: true, contents: '[Install]\nA=b' }] },
    { units: {} },
    { units: [null] },
    { units: ['a.service'] },
  ],
  passwd: [
    { users: [{ name: 'a' }, { name: 'a' }] },
    { users: [{ name: 'a' }], groups: [{ name: 'a' }] },
    { groups: [{ name: 'a' }, { name: 'a' }] },
    { users: [{}] },
    { users: [{}, {}] },
    [],
  ],
  kernelArguments: [{ shouldExist: ['a'], shouldNotExist: ['a'] }, {}, [], 'quiet'],
  'ignition.config': [
    { merge: [{ source: 'https://a' }, { source: 'https://a' }] },
    { merge: [{}] },
    { merge: [{ verification: { hash: sha512 } }] },
    { replace: { verification: { hash: sha512 } } },
    { replace: null, merge: null },
    { append: [{ source: 'https://a' }] },
  ],
  'storage.links.0.user': [{ id: 0 }, { id: 0, name: 'root' }],
  networkd: [{ units: [] }],
  unknown: [1, { a: 1 }],
  STORAGE: [{ FILES: [{ PATH: 'relative' }] }, { Files: [{ Path: '/a' }] }],
};

/** Texts that are not worth a path. */
const texts: readonly string[] = [
  ...[
    '{}',
    '[]',
    'null',
    '""',
    '1',
    '{"ignition": {}}',
    '{"ignition": null}',
    '{"ignition": {"version": ""}}',
    '{"ignition": []}',
  ],
  ...['4.0.0', '3.4.1', '3', 'latest', '3.3', 'v3.3.0', '3.3.0-experimental', '3.3.0+a', '1.0.0', ' 3.3.0'].map(
    (version) => `{"ignition": {"version": "${version}"}}`,
  ),
  '{"ignition": {"version": "3.3.0"},}',
  '{"ignition": {"version": "3.3.0"}} x',
  '{"ignition": {"version": "3.3.0"}}\n\n',
  '\uFEFF{"ignition": {"version": "3.3.0"}}',
  '{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "a", "uid": 1.0}]}}',
  '{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "a", "uid": 1e3}]}}',
  '{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "a", "uid": -0}]}}',
  '{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "a", "uid": 99999999999999999999}]}}',
  '{"ignition": {"version": "3.3.0"}, "unknown": 1e3}',
  '{"ignition": {"version": "3.0.0", "version": "3.3.0"}}',
  '{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "a\tb"}]}}',
  '{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": "\\ud800"}]}}',
  '{"ignition": {"version": "3.3.0"}, "passwd": {"users": [{"name": 01}]}}',
  '// comment\n{"ignition": {"version": "3.3.0"}}',
  'variant: flatcar\nversion: 1.0.0\n',
  '#cloud-config\n',
  '#!/bin/sh\n',
  '',
];

/**
 * In what we knowingly differ, with the reason; each is also asserted, so that none outlives its
 * reason.
 */
const differences: readonly { readonly value: Json; readonly path: string; readonly why: string }[] = [
  {
    path: 'storage.files.0.contents.source',
    value: 'oem:///motd',
    why: 'Flatcar adds the scheme oem to Ignition, which Debian does not',
  },
];

function generate(): string[] {
  const configs = [...texts];
  for (const version of versions) {
    configs.push(JSON.stringify({ ignition: { version } }));
    for (const [path, list] of Object.entries(values)) {
      for (const value of list) {
        configs.push(JSON.stringify(join({ ignition: { version } }, configWith(path, value))));
      }
    }
  }
  return [...new Set(configs)];
}

/** As far as ignition-validate goes: it merges nothing and decodes no contents. */
function isAccepted(config: string): boolean {
  const bytes = Buffer.from(config);
  const ignition = findIgnition('2.14.0');
  assert.ok(ignition);
  if (whyIgnored(bytes) !== undefined) return false;
  try {
    const findings = noFindings();
    parseConfig({ bytes, top: parseJson(bytes), ignition, findings });
    return findings.errors.length === 0;
  } catch (error) {
    assert.ok(error instanceof JsonSyntaxError);
    return false;
  }
}

async function isAcceptedByIgnition(config: string): Promise<boolean> {
  const { exitCode } = await execa('ignition-validate', ['-'], { input: config, reject: false });
  assert.ok(exitCode === 0 || exitCode === 1, `ignition-validate ended with ${exitCode}`);
  return exitCode === 0;
}

test('parseConfig() and ignition-validate agree on every config', async () => {
  const configs = generate();
  const waiting = [...configs];
  const differing: string[] = [];
  let good = 0;
  const work = async () => {
    for (let config = waiting.pop(); config !== undefined; config = waiting.pop()) {
      const accepted = await isAcceptedByIgnition(config);
      if (accepted) good++;
      if (isAccepted(config) !== accepted) differing.push(`${accepted ? 'good' : 'bad'} for Ignition: ${config}`);
    }
  };
  await Promise.all(Array.from({ length: availableParallelism() }, work));
  assert.deepEqual(differing, []);
  // Both kinds are there in number.
  assert.ok(good >= 150 && configs.length - good >= 150, `${good} of ${configs.length} are good`);
});

test('parseConfig() differs from ignition-validate only where it is meant to', async () => {
  for (const { path, value, why } of differences) {
    const config = JSON.stringify(join({ ignition: { version: '3.3.0' } }, configWith(path, value)));
    assert.notEqual(isAccepted(config), await isAcceptedByIgnition(config), why);
  }
});
