import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { checkIgnition, type Problem } from '../../../../installer/configure/ignition/check.ts';
import { findIgnition } from '../../../../installer/configure/ignition/releases.ts';

/* The messages about each version. The verdicts are those of verdicts.test.ts. */

function findingsOf(version: string, sections: object): { errors: string[]; warnings: string[] } {
  const header = version === '1' ? { ignitionVersion: 1 } : { ignition: { version } };
  const ignition = findIgnition('2.26.0');
  assert.ok(ignition);
  const config = Buffer.from(JSON.stringify(merge(header, sections)));
  const { errors, warnings, advice } = checkIgnition(config, ignition);
  const words = (list: readonly Problem[]) => list.map(({ path, message }) => `${path}: ${message}`);
  return { errors: words(errors), warnings: words([...warnings, ...advice]) };
}

function merge(header: { ignition?: object }, sections: { ignition?: object }): object {
  if (header.ignition === undefined || sections.ignition === undefined) return { ...header, ...sections };
  return { ...header, ...sections, ignition: { ...header.ignition, ...sections.ignition } };
}

const all2 = ['2.0.0', '2.1.0', '2.2.0', '2.3.0', '2.4.0'];
const all3 = ['3.0.0', '3.1.0', '3.2.0', '3.3.0', '3.4.0', '3.5.0', '3.6.0'];

const file2 = { filesystem: 'root', path: '/etc/motd' };
const storage = (value: object) => ({ storage: value });
const luks = (value: object) => storage({ luks: [{ name: 'data', device: '/dev/sda', ...value }] });
const file3 = (value: object) => storage({ files: [{ path: '/etc/motd', ...value }] });
const partition = (value: object) =>
  storage({ disks: [{ device: '/dev/sda', partitions: [{ number: 1, ...value }] }] });
const user = (value: object) => ({ passwd: { users: [{ name: 'core', ...value }] } });
const mount = (value: object) =>
  storage({ filesystems: [{ name: 'a', mount: { device: '/dev/sda', format: 'ext4', ...value } }] });

/** Keys with the version they came with, each in a config that is good from then on. */
const introduced: readonly (readonly [version: string, path: string, sections: object])[] = [
  ['2.1.0', '$.ignition.timeouts', { ignition: { timeouts: { httpTotal: 10 } } }],
  ['2.1.0', '$.storage.directories', storage({ directories: [file2] })],
  ['2.1.0', '$.storage.links', storage({ links: [{ ...file2, target: '/a' }] })],
  ['2.1.0', '$.storage.files.0.user.name', storage({ files: [{ ...file2, user: { name: 'core' } }] })],
  ['2.1.0', '$.storage.filesystems.0.mount.label', mount({ label: 'a' })],
  ['2.1.0', '$.storage.filesystems.0.mount.uuid', mount({ uuid: 'a' })],
  ['2.1.0', '$.storage.filesystems.0.mount.options', mount({ options: ['-x'] })],
  ['2.1.0', '$.storage.filesystems.0.mount.wipeFilesystem', mount({ wipeFilesystem: true })],
  ['2.1.0', '$.passwd.users.0.shell', user({ shell: '/bin/bash' })],
  ['2.1.0', '$.passwd.users.0.uid', user({ uid: 1000 })],
  ['2.1.0', '$.systemd.units.0.enabled', { systemd: { units: [{ name: 'a.service', enabled: true }] } }],
  [
    '2.2.0',
    '$.ignition.security',
    { ignition: { security: { tls: { certificateAuthorities: [{ source: 'http://a/ca.pem' }] } } } },
  ],
  ['2.2.0', '$.storage.files.0.append', storage({ files: [{ ...file2, append: true }] })],
  ['2.2.0', '$.storage.files.0.overwrite', storage({ files: [{ ...file2, overwrite: true }] })],
  [
    '2.2.0',
    '$.networkd.units.0.dropins',
    { networkd: { units: [{ name: 'a.network', dropins: [{ name: 'a.conf' }] }] } },
  ],
  [
    '2.2.0',
    '$.storage.raid.0.options',
    storage({ raid: [{ name: 'a', level: 'raid1', devices: ['/dev/a'], options: [] }] }),
  ],
  ['2.4.0', '$.ignition.proxy', { ignition: { proxy: { httpProxy: 'http://proxy' } } }],
  [
    '2.4.0',
    '$.storage.files.0.contents.httpHeaders',
    storage({ files: [{ ...file2, contents: { source: 'http://a', httpHeaders: [{ name: 'a', value: 'b' }] } }] }),
  ],
  ['3.1.0', '$.ignition.proxy', { ignition: { proxy: { httpsProxy: 'https://proxy' } } }],
  ['3.1.0', '$.ignition.config.replace.compression', { ignition: { config: { replace: { compression: 'gzip' } } } }],
  [
    '3.1.0',
    '$.storage.filesystems.0.mountOptions',
    storage({ filesystems: [{ device: '/a', format: 'xfs', mountOptions: ['ro'] }] }),
  ],
  ['3.2.0', '$.storage.luks', luks({})],
  ['3.2.0', '$.storage.disks.0.partitions.0.resize', partition({ resize: true })],
  ['3.2.0', '$.passwd.users.0.shouldExist', user({ shouldExist: false })],
  ['3.3.0', '$.kernelArguments', { kernelArguments: { shouldExist: ['quiet'] } }],
  ['3.4.0', '$.storage.luks.0.discard', luks({ discard: true })],
  ['3.4.0', '$.storage.luks.0.openOptions', luks({ openOptions: ['--allow-discards'] })],
  [
    '3.4.0',
    '$.storage.luks.0.clevis.tang.0.advertisement',
    luks({ clevis: { tang: [{ url: 'http://a', thumbprint: 'b', advertisement: '{}' }] } }),
  ],
  ['3.5.0', '$.storage.luks.0.cex', luks({ cex: { enabled: true } })],
];

for (const [version, path, sections] of introduced) {
  test(`${path} is known from ${version} on and ignored before`, () => {
    const versions = version.startsWith('2') ? all2 : all3;
    for (const other of versions) {
      const { errors, warnings } = findingsOf(other, sections);
      assert.deepEqual(errors, [], other);
      const about = warnings.filter((warning) => warning.includes('Unused key'));
      if (other >= version) {
        assert.deepEqual(about, [], other);
      } else if (about[0]?.startsWith(`${path}: `)) {
        assert.ok(about[0]?.endsWith(`version ${other} does not know it and ignores it, only ${version} and later do`));
      } else {
        // What the key stands in came later too.
        assert.ok(path.startsWith(about[0]?.split(':')[0] ?? '?'), `${other}: ${about[0]}`);
      }
    }
  });
}

/** Errors, by the versions that have them; the other versions of the same major one have none. */
type Errors = readonly (readonly [versions: readonly string[], error: string, sections: object])[];

const errors2: Errors = [
  [all2, '$.storage.files.0.filesystem: it is missing', storage({ files: [{ path: '/a' }] })],
  [all2, '$.storage.files.0.path: a is not an absolute path', storage({ files: [{ filesystem: 'root', path: 'a' }] })],
  [all2, '$.storage.files.0.path: it is missing', storage({ files: [{ filesystem: 'root' }] })],
  [[], '', storage({ files: [{ filesystem: 'root', path: '/a/../b/' }] })],
  [
    all2,
    '$.storage.files.1.path: a second entry for /etc/motd',
    storage({ files: [file2, { ...file2, path: '/etc//motd' }] }),
  ],
  [all2, '$.storage.files.1.path: a second entry', storage({ files: [file2, { ...file2, filesystem: 'other' }] })],
  [
    all2.slice(1),
    '$.storage.files.0.path: /a/b leads through the link /a',
    {
      storage: {
        files: [{ filesystem: 'root', path: '/a/b' }],
        links: [{ filesystem: 'root', path: '/a', target: '/c' }],
      },
    },
  ],
  [all2.slice(1), '$.storage.links.0.target: the link has no target', storage({ links: [file2] })],
  [all2, '$.storage.files.0.mode: 4096 is not a mode', storage({ files: [{ ...file2, mode: 4096 }] })],
  [all2, '$.storage.files.0.mode: expected a whole number', storage({ files: [{ ...file2, mode: '0644' }] })],
  [
    all2.slice(2),
    '$.storage.files.0.append: append and overwrite',
    storage({ files: [{ ...file2, append: true, overwrite: true }] }),
  ],
  [
    all2.slice(1),
    '$.storage.files.0.user: it has both id and name',
    storage({ files: [{ ...file2, user: { id: 1, name: 'a' } }] }),
  ],
  [
    all2,
    '$.storage.files.0.contents.source: the scheme ftp',
    storage({ files: [{ ...file2, contents: { source: 'ftp://a' } }] }),
  ],
  [
    all2,
    '$.storage.files.0.contents.source: the scheme gs',
    storage({ files: [{ ...file2, contents: { source: 'gs://a/b' } }] }),
  ],
  [
    all2.slice(0, 1),
    '$.storage.files.0.contents.source: the scheme s3',
    storage({ files: [{ ...file2, contents: { source: 's3://a/b' } }] }),
  ],
  [
    all2.slice(0, 1),
    '$.storage.files.0.contents.source: the scheme tftp',
    storage({ files: [{ ...file2, contents: { source: 'tftp://a' } }] }),
  ],
  [[], '', storage({ files: [{ ...file2, contents: { source: 'oem:///a' } }] })],
  [[], '', storage({ files: [{ ...file2, contents: { source: '', verification: {} } }] })],
  [
    all2,
    '$.storage.files.0.contents.source: the data URL',
    storage({ files: [{ ...file2, contents: { source: 'data:;base64,x' } }] }),
  ],
  [
    all2,
    '$.storage.files.0.contents.compression: unknown compression xz',
    storage({ files: [{ ...file2, contents: { compression: 'xz' } }] }),
  ],
  [
    all2,
    '$.storage.files.0.contents.verification.hash: unknown hash function sha256',
    storage({
      files: [{ ...file2, contents: { source: 'http://a', verification: { hash: `sha256-${'a'.repeat(64)}` } } }],
    }),
  ],
  [all2, '$.storage.filesystems.0: it needs mount', storage({ filesystems: [{ name: 'a' }] })],
  [
    all2,
    '$.storage.filesystems.0: Flatcar cannot translate',
    storage({ filesystems: [{ name: 'root', path: 'sysroot' }] }),
  ],
  [
    all2,
    '$.storage.filesystems.0: it has both mount and path',
    storage({ filesystems: [{ name: 'root', path: '/a', mount: { device: '/dev/a', format: 'ext4' } }] }),
  ],
  [all2, '$.storage.filesystems.0.mount.format: the format zfs is not known', mount({ format: 'zfs' })],
  [all2, '$.storage.filesystems.0.mount.format: the format is missing', mount({ format: '' })],
  [all2.slice(0, 1), '$.storage.filesystems.0.mount.format: the format vfat is not known', mount({ format: 'vfat' })],
  [all2, '$.storage.filesystems.0.mount.device: sda is not', mount({ device: 'sda' })],
  [all2.slice(1), '$.storage.filesystems.0.mount.label: the label is longer', mount({ label: 'a'.repeat(17) })],
  [all2, '$.storage.filesystems.0.mount.create.force: Flatcar', mount({ create: {} })],
  [
    all2.slice(1),
    '$.storage.filesystems.0.mount.create: it excludes',
    mount({ create: { force: true }, wipeFilesystem: true }),
  ],
  [
    all2,
    '$.storage.raid.0.level: there is no level 7',
    storage({ raid: [{ name: 'a', level: '7', devices: ['/dev/a'] }] }),
  ],
  [all2, '$.storage.disks.0.device: it is missing', storage({ disks: [{}] })],
  [all2, '$.storage.disks.0.partitions.0.size: size is in sectors', partition({ size: 1, startMiB: 1 })],
  [all2.slice(0, 3), '$.storage.disks.0.partitions: Flatcar cannot translate', partition({})],
  [all2, '$.passwd.users.1: a second entry for core', { passwd: { users: [{ name: 'core' }, { name: 'core' }] } }],
  [all2.slice(1), '$.passwd.users.0.create: it excludes shell beside it', user({ create: {}, shell: '/bin/sh' })],
  [[], '', { systemd: { units: [{ name: 'a.service' }, { name: 'a.service' }] } }],
  [
    all2,
    '$.systemd.units.1.dropins.1: a second entry for b.conf',
    {
      systemd: {
        units: [{ name: 'c.path' }, { name: 'a.service', dropins: [{ name: 'b.conf' }, { name: 'b.conf' }] }],
      },
    },
  ],
  [
    all2,
    '$.storage.filesystems.1.mount.device: /dev//b is not the shortest form',
    storage({
      filesystems: [
        { name: 'root', mount: { device: '/dev/a', format: 'ext4' } },
        { name: 'b', mount: { device: '/dev//b', format: 'ext4' } },
      ],
    }),
  ],
  [
    all2,
    '$.networkd.units: a second entry for /etc/systemd/network/a.network',
    { networkd: { units: [1, 2].map(() => ({ name: 'a.network', contents: '[Match]' })) } },
  ],
  [all2, '$.networkd.units.0.name: a.service is not the name', { networkd: { units: [{ name: 'a.service' }] } }],
  [all2, '$.ignition.config.append.0.source: there is no source', { ignition: { config: { append: [{}] } } }],
  [
    all2.slice(4),
    '$.ignition.proxy.httpProxy: a proxy needs an http',
    { ignition: { proxy: { httpProxy: 'ftp://a' } } },
  ],
];

const errors3: Errors = [
  [
    all3.slice(0, 4),
    '$.storage.files.0.contents.source: the scheme arn',
    file3({ contents: { source: 'arn:aws:s3:::bucket/key' } }),
  ],
  [all3, '$.storage.files.0.contents.source: ', file3({ contents: { source: 'arn:aws:ec2:::bucket/key' } })],
  [all3, '$.storage.files.0.contents.source: ', file3({ contents: { source: 'arn:aws:s3:::bucket' } })],
  [all3, '$.storage.files.0.contents.source: ', file3({ contents: { source: 'arn:aws:s3:a:b:accesspoint/c' } })],
  [
    all3.slice(0, 4),
    '$.storage.files.0.contents.source: ',
    file3({ contents: { source: 'arn:aws:s3:a:b:accesspoint/c/d' } }),
  ],
  [all3, '$.storage.files.0.contents.source: ', file3({ contents: { source: 'arn:aws:s3:::bucket/key?versionId=' } })],
  [[], '', file3({ contents: { source: 'oem:///motd' } })],
  [all3, '$.storage.files.0.contents.source: the scheme file', file3({ contents: { source: 'file:///motd' } })],
  [all3.slice(2), '$.storage.luks.0.name: the name cannot contain a slash', luks({ name: 'a/b' })],
  [
    all3.slice(4),
    '$.storage.luks.0.clevis.tang.0.advertisement: the advertisement is not valid JSON',
    luks({ clevis: { tang: [{ url: 'http://a', thumbprint: 'b', advertisement: '{{' }] } }),
  ],
  [all3.slice(5), '$.storage.luks.0.cex: ', luks({ cex: { enabled: true }, clevis: { tpm2: true } })],
  [all3.slice(5), '$.storage.luks.0.cex: ', luks({ cex: { enabled: true }, keyFile: { source: 'data:,key' } })],
  [[], '', luks({ cex: { enabled: false }, clevis: { tpm2: true } })],
  [
    all3,
    '$.storage.files.0.path: /etc/systemd/system/a.service is also written for a unit',
    {
      ...storage({ files: [{ path: '/etc/systemd/system/a.service' }] }),
      systemd: { units: [{ name: 'a.service', contents: '[Unit]' }] },
    },
  ],
  [
    all3,
    '$.storage.directories.0.path: /etc/systemd/system/a.service.d/b.conf is also written for a unit',
    {
      ...storage({ directories: [{ path: '/etc/systemd/system/a.service.d/b.conf' }] }),
      systemd: { units: [{ name: 'a.service', dropins: [{ name: 'b.conf', contents: '[Unit]' }] }] },
    },
  ],
  [
    [],
    '',
    { ...storage({ files: [{ path: '/etc/systemd/system/a.service' }] }), systemd: { units: [{ name: 'a.service' }] } },
  ],
  [all3, '$.storage.disks.0.device: expected a string, found a number', storage({ disks: [{ device: 1 }] })],
  [
    all3.slice(0, 3),
    '$.storage.filesystems.0.format: the format none',
    storage({ filesystems: [{ device: '/a', format: 'none' }] }),
  ],
];

const errors1: Errors = [
  [['1'], '$.storage.disks.0.device: sda is not', storage({ disks: [{ device: 'sda' }] })],
  [
    ['1'],
    '$.storage.filesystems.0.format: the format zfs',
    storage({ filesystems: [{ device: '/dev/a', format: 'zfs' }] }),
  ],
  [
    ['1'],
    '$.storage.filesystems.0.files.0.path: a is not',
    storage({ filesystems: [{ device: '/dev/a', format: 'ext4', files: [{ path: 'a' }] }] }),
  ],
  [['1'], '$.systemd.units.0.name: a is not the name', { systemd: { units: [{ name: 'a' }] } }],
];

for (const [family, errors] of [
  [['1'], errors1],
  [all2, errors2],
  [all3, errors3],
] as const) {
  for (const [versions, error, sections] of errors) {
    const name = versions.length === 0 ? 'no error' : `${error} (${versions.at(0)} to ${versions.at(-1)})`;
    test(`${name} in ${JSON.stringify(sections)}`, () => {
      for (const version of family) {
        const found = findingsOf(version, sections).errors;
        assert.equal(found.length > 0, versions.includes(version), `${version}: ${found.join('; ')}`);
        if (found.length > 0)
          assert.ok(
            found.some((one) => one.startsWith(error)),
            `${version}: ${found.join('; ')}`,
          );
      }
    });
  }
}

const warnings: readonly (readonly [version: string, warning: RegExp | undefined, sections: object])[] = [
  ['3.3.0', /^\$\.storage\.files\.0\.souce: Unused key souce: version 3\.3\.0 does not know it/, file3({ souce: 'x' })],
  ['3.3.0', /^\$\.storage\.files\.0\.mode: set-user-ID/, file3({ mode: 0o4755 })],
  ['3.3.0', /set-user-ID.*0644 is 420, not 644/, file3({ mode: 644 })],
  ['3.4.0', /set-user-ID.*are dropped/, file3({ mode: 0o4755 })],
  ['3.6.0', undefined, file3({ mode: 0o4755 })],
  ['3.3.0', /^\$\.ignition\.proxy\.httpsProxy: the connection/, { ignition: { proxy: { httpsProxy: 'http://a' } } }],
  [
    '3.3.0',
    /a\.service is enabled, but has no section Install/,
    { systemd: { units: [{ name: 'a.service', enabled: true, contents: '[Unit]\nDescription=a\n' }] } },
  ],
  [
    '2.0.0',
    /a\.service is enabled, but has no section Install/,
    { systemd: { units: [{ name: 'a.service', enable: true, contents: '[Unit]\nDescription=a\n' }] } },
  ],
  [
    '3.3.0',
    undefined,
    file3({ contents: { compression: 'gzip', source: `data:;base64,${gzipSync('hello').toString('base64')}` } }),
  ],
  ['3.3.0', /the user has no name/, { passwd: { users: [{}] } }],
  [
    '3.6.0',
    /a hard link has the owner/,
    storage({ links: [{ path: '/a', target: '/b', hard: true, user: { id: 1 } }] }),
  ],
  [
    '3.6.0',
    /overwrites the partitions/,
    storage({ disks: [{ device: '/a', partitions: [{ number: 1 }] }], filesystems: [{ device: '/a' }] }),
  ],
  [
    '2.3.0',
    /\.files\.0\.filesystem: there is no file system rot: Flatcar takes it as root/,
    storage({ files: [{ ...file2, filesystem: 'rot' }] }),
  ],
  ['3.3.0', /\/a is a file of this config/, storage({ files: [{ path: '/a' }], directories: [{ path: '/a/b' }] })],
  [
    '3.3.0',
    /compression: Ignition cannot decompress/,
    file3({ contents: { source: 's3://a/b', compression: 'gzip' } }),
  ],
  [
    '3.3.0',
    /units\.0\.contents: a@b\.service is enabled, but its template a@\.service has no section Install/,
    {
      systemd: {
        units: [
          { name: 'a@b.service', enabled: true },
          { name: 'a@.service', contents: '[Unit]\nDescription=a\n' },
        ],
      },
    },
  ],
  [
    '3.3.0',
    /replace: the config that replaces this one has no user with a key or password/,
    {
      ignition: { config: { replace: { source: `data:,${encodeURIComponent('{"ignition":{"version":"3.0.0"}}')}` } } },
    },
  ],
  [
    '3.3.0',
    /replace: the config that replaces this one has all of it: passwd of this one is ignored/,
    { ...user({}), ignition: { config: { replace: { source: 'https://a/' } } } },
  ],
  ['3.6.0', /wipeTable/, storage({ disks: [{ device: '/a', wipeTable: true }], filesystems: [{ device: '/a' }] })],
];

for (const [version, warning, sections] of warnings) {
  test(`${version} ${warning === undefined ? 'does not warn' : `warns ${warning}`} of ${JSON.stringify(sections).slice(0, 100)}`, () => {
    const found = findingsOf(version, sections);
    assert.deepEqual(found.errors, []);
    if (warning === undefined) assert.deepEqual(found.warnings, []);
    else assert.match(found.warnings.join('\n'), warning);
  });
}
