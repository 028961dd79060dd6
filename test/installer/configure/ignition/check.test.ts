import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { checkIgnition } from '../../../../installer/configure/ignition/check.ts';

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

function check(text: string | Uint8Array) {
  return checkIgnition(Buffer.from(text), '/statedir/ignition.json');
}

function assertRefused(text: string | Uint8Array, why: RegExp): void {
  assert.throws(
    () => check(text),
    (error: unknown) => {
      assert.ok(error instanceof Error);
      assert.ok(error.message.startsWith('cannot use /statedir/ignition.json: '), error.message);
      assert.match(error.message, why);
      return true;
    },
  );
}

test('checkIgnition() accepts the config of the known way', () => {
  assert.deepEqual(check(seedConfig), { version: '2.1.0', warnings: [] });
});

test('checkIgnition() accepts every version that Flatcar reads', () => {
  const versions = ['2.0.0', '2.1.0', '2.2.0', '2.3.0', '2.4.0'];
  versions.push('3.0.0', '3.1.0', '3.2.0', '3.3.0', '3.4.0', '3.5.0', '3.6.0');
  for (const version of versions) {
    assert.deepEqual(check(JSON.stringify({ ignition: { version } })), { version, warnings: [] });
  }
  assert.deepEqual(check('{"ignitionVersion": 1, "passwd": {}}'), { version: '1', warnings: [] });
});

test('checkIgnition() warns of a version 3 that is newer than it knows, and refuses other versions', () => {
  assert.match(check('{"ignition": {"version": "3.7.0"}}').warnings.join(), /3\.7\.0 is newer than 3\.6\.0/);
  assert.match(check('{"ignition": {"version": "3.7.0-experimental"}}').warnings.join(), /newer than/);
  for (const version of ['1.0.0', '2.5.0', '2.4.0-experimental', '3.4.1', '4.0.0', '3', 'latest', '3.03.0']) {
    assertRefused(
      JSON.stringify({ ignition: { version } }),
      /is not supported by Flatcar \(supported versions: 2\.0\.0 to 2\.4\.0 and 3/,
    );
  }
});

test('checkIgnition() warns of keys that Ignition will ignore', () => {
  const { warnings } = check('{"ignition": {"version": "3.2.0"}, "kernelArguments": {}, "sytemd": {}}');
  assert.deepEqual(warnings, [
    '$.kernelArguments (line 1, column 55): Unused key kernelArguments: version 3.2.0 does not know it and ignores it, only 3.3.0 and later do',
    '$.sytemd (line 1, column 69): Unused key sytemd: version 3.2.0 does not know it and ignores it',
  ]);
});

test('checkIgnition() names line and column of a syntax error', () => {
  assertRefused('{\n  "ignition": {"version": "3.3.0"}\n  "passwd": {}\n}', /not valid JSON: .* in line 3, column 3$/);
  assertRefused('{"ignition": {"version": "3.3.0"},}', /line 1, column 35$/);
  assertRefused('{"ignition": tru}', /line 1, column 14$/);
  assertRefused("{'ignition': {}}", /line 1, column 2$/);
  assertRefused('{"ignition": {"version": "3.3.0"}} {', /line 1, column 36$/);
  assertRefused('{"ignition": {\n"version":\n', /it ends too early, in line 3$/);
  assertRefused('{"ignition": "a\nb"}', /Bad control character .*line 1 column 16/);
});

test('checkIgnition() names the place of a value of the wrong kind', () => {
  assertRefused(
    '{"ignition": {"version": "3.3.0"}, "storage": []}',
    /: \$\.storage \(line 1, column 47\): expected object, received array$/,
  );
});

test('checkIgnition() refuses JSON that is no Ignition config', () => {
  assertRefused('[]', /it is JSON, but not an object/);
  assertRefused('"x"', /it is JSON, but not an object/);
  assertRefused('{}', /it has no ignition\.version/);
  assertRefused('{"ignition": {"version": 3}}', /it has no ignition\.version/);
  assertRefused('{"ignition": {"version": ""}}', /it has no ignition\.version/);
});

test('checkIgnition() recognises what people give by mistake', () => {
  assertRefused('variant: flatcar\nversion: 1.0.0\n', /it is a Butane config \(YAML\).*butane --strict/);
  assertRefused('passwd:\n  users:\n  - name: core\n', /it is a Container Linux Config/);
  assertRefused('# comment\nstorage:\n  files: []\n', /it is a Container Linux Config/);
  assertRefused('#cloud-config\nusers: []\n', /it is a cloud-config.*-c/);
  assertRefused('#!/bin/sh\ntrue\n', /it is a script.*-c/);
  assertRefused('hello: world\n', /it is YAML, but an Ignition config is JSON/);
  assertRefused('hello', /not valid JSON/);
  assertRefused('', /it is empty/);
  assertRefused(' \n', /it is empty/);
  assertRefused(gzipSync(seedConfig), /compressed with gzip/);
  assertRefused(`\uFEFF${seedConfig}`, /byte order mark/);
  assertRefused(Buffer.from([0x7b, 0xff, 0x7d]), /not text in UTF-8/);
});

test('checkIgnition() lists all problems with their places, but no more than ten', () => {
  const two = `{
  "ignition": {"version": "3.3.0"},
  "storage": {
    "files": [{"path": "etc/motd"}, {"path": "/etc/issue", "mode": 99999}]
  }
}`;
  assert.throws(() => check(two), {
    message: [
      'cannot use /statedir/ignition.json: it has several problems:',
      '  $.storage.files.0.path (line 4, column 24): etc/motd is not an absolute path',
      '  $.storage.files.1.mode (line 4, column 68): 99999 is not a mode: that is a decimal number from 0 to 4095 (0644 is 420)',
    ].join('\n'),
  });
  const misspelled = '{"ignition": {"version": "3.3.0"}, "storage": {"files": [{"pth": "/a"}]}}';
  assertRefused(misspelled, /\n {2}\$\.storage\.files\.0\.path .*: it is missing\n {2}warning: .*: Unused key pth: /);
  const files = Array.from({ length: 15 }, () => ({ path: 7 }));
  const many = JSON.stringify({ ignition: { version: '3.3.0' }, storage: { files } });
  assertRefused(many, /(?:\n {2}\$\.storage\.files\.\d\.path .*){10}\n {2}and 5 more$/);
});

test('checkIgnition() takes keys in another case and null as Ignition does', () => {
  const config = '{"Ignition": {"VERSION": "3.3.0"}, "storage": null, "passwd": {"users": [null]}}';
  const { version, warnings } = check(config);
  assert.equal(version, '3.3.0');
  assert.match(warnings.join('\n'), /Unused key Ignition: it is spelled ignition; Ignition accepts it anyway/);
  assert.match(warnings.join('\n'), /\$\.passwd\.users\.0\.name \(.*\): the user has no name/);
});
