import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { checkIgnition, formatProblem } from '../../../../installer/configure/ignition/check.ts';
import { findIgnition } from '../../../../installer/configure/ignition/releases.ts';

/** The config that the known way of provisioning Flatcar with Tinkerbell writes. */
const seedConfig = `{
"ignition" : {
"config" : {},
"timeouts" : {},
"version" : "2.1.0"
},
"networkd" : {},
"passwd" : {
"users" : [
{
"name" : "core",
"sshAuthorizedKeys" : [
"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABgQC7 vagrant@provisioner"
]
}
]
},
"storage" : {},
"systemd" : {}
}
`;

function check(text: string | Uint8Array, version = '2.26.0') {
  const ignition = findIgnition(version);
  assert.ok(ignition);
  return checkIgnition(Buffer.from(text), ignition);
}

function accepted(text: string): { version: string | undefined; warnings: string[] } {
  const { verdict, version, errors, warnings, advice } = check(text);
  assert.deepEqual([verdict === 'reject', errors], [false, []]);
  return { version, warnings: [...warnings, ...advice].map(formatProblem) };
}

function errorsOf(text: string | Uint8Array): string[] {
  const { verdict, errors } = check(text);
  assert.equal(verdict, 'reject');
  return errors.map(formatProblem);
}

function assertRefused(text: string | Uint8Array, why: RegExp): void {
  assert.match(errorsOf(text).join('\n'), why);
}

test('checkIgnition() accepts the config of the known way', () => {
  assert.deepEqual(accepted(seedConfig), { version: '2.1.0', warnings: [] });
});

test('checkIgnition() accepts every version that Flatcar reads', () => {
  const versions = ['2.0.0', '2.1.0', '2.2.0', '2.3.0', '2.4.0'];
  versions.push('3.0.0', '3.1.0', '3.2.0', '3.3.0', '3.4.0', '3.5.0', '3.6.0');
  for (const version of versions) {
    assert.deepEqual(accepted(JSON.stringify({ ignition: { version } })), { version, warnings: [] });
  }
  assert.deepEqual(accepted('{"ignitionVersion": 1, "passwd": {}}'), { version: '1', warnings: [] });
});

test('checkIgnition() refuses versions that an Ignition does not know, and names those that it knows', () => {
  const versions = ['1.0.0', '2.5.0', '2.4.0-experimental', '3.4.1', '3.7.0', '4.0.0', '3.6.0-experimental'];
  for (const version of versions) {
    assertRefused(
      JSON.stringify({ ignition: { version } }),
      /^\$\.ignition\.version \(line 1, column 24\): Ignition 2\.26\.0 does not support version .*; it supports 2\.0\.0 to 2\.4\.0, 3\.0\.0 to 3\.6\.0 and 3\.7\.0-experimental$/,
    );
  }
  for (const version of ['3', 'latest'])
    assertRefused(JSON.stringify({ ignition: { version } }), /is no version: that is three numbers, as 3\.3\.0/);
  assert.equal(accepted('{"ignition": {"version": "3.03.0"}}').version, '3.3.0');
  const experimental = '{"ignition": {"version": "3.6.0-experimental"}}';
  assert.equal(check(experimental, '2.24.0').verdict, 'accept');
});

test('checkIgnition() warns of keys that Ignition will ignore', () => {
  const { warnings } = accepted('{"ignition": {"version": "3.2.0"}, "kernelArguments": {}, "sytemd": {}}');
  assert.deepEqual(warnings, [
    '$.kernelArguments (line 1, column 36): Unused key kernelArguments: version 3.2.0 does not know it and ignores it, only 3.3.0 and later do',
    '$.sytemd (line 1, column 59): Unused key sytemd: version 3.2.0 does not know it and ignores it',
  ]);
});

test('checkIgnition() names line and column of a syntax error', () => {
  assertRefused('{\n  "ignition": {"version": "3.3.0"}\n  "passwd": {}\n}', /not valid JSON: .* in line 3, column 3$/);
  assertRefused('{"ignition": {"version": "3.3.0"},}', /line 1, column 35$/);
  assertRefused('{"ignition": tru}', /true is misspelled in line 1, column 14$/);
  assertRefused("{'ignition': {}}", /line 1, column 2$/);
  assertRefused('{"ignition": {"version": "3.3.0"}} {', /line 1, column 36$/);
  assertRefused('{"ignition": {\n"version":\n', /it ends too early in line 3, column 1$/);
});

test('checkIgnition() names the line where a string without its closing quote begins', () => {
  const missing = '{\n  "ignition": {"version": "3.3.0},\n  "passwd": {}\n}';
  assertRefused(missing, /a string without its closing quote starts in line 2, column 27$/);
  assertRefused('{"ignition": "a', /a string without its closing quote starts in line 1, column 14$/);
  assertRefused(
    '{"ignition": "a\tb"}',
    /a string with the control character 9, unescaped, starts in line 1, column 14$/,
  );
});

test('checkIgnition() refuses JSON that is nested deeply, without a crash', () => {
  const nested = (levels: number) =>
    `{"ignition": {"version": "3.3.0"}, "a": ${'['.repeat(levels)}${']'.repeat(levels)}}`;
  assert.equal(check(nested(9_999)).verdict, 'warn');
  assertRefused(nested(10_000), /nested more than 10000 levels deep/);
  assertRefused('['.repeat(1_000_000), /nested more than 10000 levels deep/);
  assertRefused('{"a":'.repeat(1_000_000), /nested more than 10000 levels deep/);
});

test('checkIgnition() names the place of a value of the wrong kind', () => {
  assertRefused(
    '{"ignition": {"version": "3.3.0"}, "storage": []}',
    /^\$\.storage \(line 1, column 47\): expected an object, found a list$/,
  );
});

test('checkIgnition() refuses JSON that is no Ignition config', () => {
  assertRefused('[]', /it is JSON, but not an object/);
  assertRefused('"x"', /it is JSON, but not an object/);
  assertRefused('{}', /it has no ignition\.version/);
  assertRefused('null', /it has no ignition\.version/);
  assertRefused('{"ignition": {"version": ""}}', /it has no ignition\.version/);
  assertRefused('{"ignition": {"version": 3}}', /\$\.ignition\.version .*expected a string, found a number/);
});

test('checkIgnition() recognises what people give by mistake', () => {
  assertRefused('variant: flatcar\nversion: 1.0.0\n', /it is a Butane config \(YAML\).*butane --strict/);
  assertRefused('passwd:\n  users:\n  - name: core\n', /it is a Container Linux Config/);
  assertRefused('# comment\nstorage:\n  files: []\n', /it is a Container Linux Config/);
  assertRefused('hello: world\n', /it is YAML, but an Ignition config is JSON/);
  assertRefused('hello', /not valid JSON/);
  assertRefused(' \n', /it is empty/);
  assertRefused(gzipSync(seedConfig), /compressed with gzip/);
  assertRefused(`\uFEFF${seedConfig}`, /byte order mark/);
  assertRefused(Buffer.from([0x7b, 0xff, 0x7d]), /a key in double quotes is missing before/);
});

test('checkIgnition() says of other user data that Ignition ignores it', () => {
  const mime = 'Content-Type: multipart/mixed; boundary="a"\n\n--a\n';
  const ignored = [
    ['', 'it is empty'],
    ['#cloud-config\nusers: []\n', 'it is a cloud-config'],
    [gzipSync('#cloud-config\n'), 'it is a cloud-config'],
    ['#!/bin/sh\ntrue\n', 'it is a script'],
    [mime, 'it is a MIME message of several parts'],
  ] as const;
  for (const [text, what] of ignored) {
    const { verdict, ignored: why, advice } = check(text);
    assert.deepEqual([verdict, why], ['accept', what]);
    assert.match(advice.map(formatProblem).join(), /Ignition ignores it and goes on without a config/);
  }
});

test('checkIgnition() finds every problem, with its place', () => {
  const two = `{
  "ignition": {"version": "3.3.0"},
  "storage": {
    "files": [{"path": "etc/motd"}, {"path": "/etc/issue", "mode": 99999}]
  }
}`;
  assert.deepEqual(errorsOf(two), [
    '$.storage.files.0.path (line 4, column 24): etc/motd is not an absolute path',
    '$.storage.files.1.mode (line 4, column 68): 99999 is not a mode: that is a decimal number from 0 to 4095 (0644 is 420)',
  ]);
});

test('checkIgnition() takes keys in another case and null as Ignition does', () => {
  const config = '{"Ignition": {"VERSION": "3.3.0"}, "storage": null, "passwd": {"users": [null]}}';
  const { version, warnings } = accepted(config);
  assert.equal(version, '3.3.0');
  assert.match(warnings.join('\n'), /Unused key Ignition: it is spelled ignition; Ignition accepts it anyway/);
  assert.match(warnings.join('\n'), /\$\.passwd\.users\.0\.name \(.*\): the user has no name/);
});

test('checkIgnition() merges the configs in data URLs, and names the place in them', () => {
  const url = (config: object) => `data:,${encodeURIComponent(JSON.stringify(config))}`;
  const merging = (child: object, parent: object = {}) =>
    JSON.stringify({ ignition: { version: '3.3.0', config: { merge: [{ source: url(child) }] } }, ...parent });
  const link = { ignition: { version: '3.0.0' }, storage: { links: [{ path: '/etc', target: '/a' }] } };
  assert.equal(check(merging(link)).verdict, 'accept');
  assertRefused(
    merging(link, { storage: { files: [{ path: '/etc/motd' }] } }),
    /^in the merged config, \$\.storage\.files\.0\.path: \/etc\/motd leads through the link \/etc/,
  );
  assertRefused(
    merging({ ignition: { version: '3.3.0' }, storage: { files: [{ path: 'a' }] } }),
    /^\$\.ignition\.config\.merge\.0\.source .*in the config of this data URL, \$\.storage\.files\.0\.path \(line 1, column 61\): a is not/,
  );
  assertRefused(
    merging({}).replace('%7B%7D', '%7B'),
    /the config in this data URL is not valid JSON: it ends too early/,
  );
});

test('checkIgnition() lists more problems than a call can have arguments', () => {
  const files = Array.from({ length: 150_000 }, (_, index) => ({ path: `a${index}` }));
  const { errors } = check(JSON.stringify({ ignition: { version: '3.3.0' }, storage: { files } }));
  assert.equal(errors.length, files.length);
  const append = files.map(() => ({}));
  const unfetched = { ignition: { version: '3.3.0' }, storage: { files: [{ path: '/a', append }] } };
  assert.equal(check(JSON.stringify(unfetched)).errors.length, append.length);
  const users = files.map(() => 1);
  assert.equal(
    check(JSON.stringify({ ignition: { version: '2.3.0' }, passwd: { users } })).errors.length,
    users.length,
  );
});

test('checkIgnition() refuses configs that are nested without end', () => {
  let nested = '{"ignition":{"version":"3.3.0"}}';
  const wrap = () => {
    const source = `data:;base64,${gzipSync(nested).toString('base64')}`;
    nested = JSON.stringify({ ignition: { version: '3.3.0', config: { merge: [{ source, compression: 'gzip' }] } } });
  };
  for (let level = 0; level < 100; level++) wrap();
  assert.equal(check(nested).verdict, 'accept');
  wrap();
  assertRefused(nested, /nested more than 100 levels deep/);
});
