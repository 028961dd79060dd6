/** Ignition configs, and what is mistaken for them. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { assessIgnition } from '../../../installer/configure/ignition/assess.ts';
import { checkIgnition, formatProblem } from '../../../installer/configure/ignition/check.ts';
import { ignitionReleases } from '../../../installer/configure/ignition/releases.ts';
import { jsonWith } from '../inputs.ts';
import { require, type Target } from '../target.ts';

const keys = [
  ...[
    'ignition',
    'version',
    'config',
    'merge',
    'replace',
    'append',
    'source',
    'compression',
    'verification',
    'hash',
    'timeouts',
  ],
  ...[
    'storage',
    'files',
    'directories',
    'links',
    'disks',
    'raid',
    'filesystems',
    'luks',
    'path',
    'contents',
    'mode',
    'overwrite',
  ],
  ...[
    'partitions',
    'label',
    'number',
    'sizeMiB',
    'startMiB',
    'sizeMib',
    'wipeTable',
    'device',
    'format',
    'name',
    'level',
    'devices',
  ],
  ...[
    'systemd',
    'units',
    'dropins',
    'enabled',
    'enable',
    'mask',
    'networkd',
    'passwd',
    'users',
    'groups',
    'sshAuthorizedKeys',
  ],
  ...[
    'target',
    'hard',
    'clevis',
    'tang',
    'url',
    'thumbprint',
    'custom',
    'pin',
    'security',
    'tls',
    'certificateAuthorities',
    'proxy',
  ],
];
const values = [
  ...[
    '3.3.0',
    '3.4.0',
    '3.6.0',
    '2.3.0',
    '2.0.0',
    '1',
    '/etc/a',
    '/',
    'relative',
    'a.service',
    '[Unit]\nA=b',
    'data:,a',
    'data:;base64,YQ==',
  ],
  ...['https://a/b', 'sha512-', 'gzip', '/dev/sda', 'ext4', 'btrfs', 'raid0', '\ud800', 'oem:///a'],
];

/** Those of the observed cases that are short, one of each kind of finding. */
function observed(): Buffer[] {
  const path = join(import.meta.dirname, '../../installer/configure/ignition/verdicts/observed.jsonl');
  const cases = readFileSync(path, 'utf8').split('\n');
  return cases
    .filter((line, index) => index % 60 === 0 && line !== '' && line.length < 1000)
    .map((line) => JSON.parse(line) as { readonly config?: string; readonly configBase64?: string })
    .map(({ config = '', configBase64 }) =>
      configBase64 === undefined ? Buffer.from(config) : Buffer.from(configBase64, 'base64'),
    );
}

const merged = `data:;base64,${Buffer.from('{"ignition":{"version":"3.3.0"}}').toString('base64')}`;
const compressed = `data:;base64,${gzipSync('{"ignition":{"version":"3.1.0"}}').toString('base64')}`;

export const ignitionTarget: Target = {
  name: 'ignition',
  seeds: [
    ...observed(),
    '{"ignition":{"version":"3.3.0"},"storage":{"files":[{"path":"/a","contents":{"source":"data:,a"}}]}}',
    `{"ignition":{"version":"3.4.0","config":{"merge":[{"source":"${merged}"},{"source":"${compressed}","compression":"gzip"}]}}}`,
    '#cloud-config\nusers: []\n',
    'variant: flatcar\nversion: 1.0.0\n',
    'a: &a [*a, *a]\n',
  ],
  generated: jsonWith(keys, values).map(
    (value) => `{"ignition":{"version":"3.4.0"},"storage":${value},"systemd":${value}}`,
  ),
  words: [...keys.map((key) => `"${key}":`), ...values.map((value) => JSON.stringify(value)), merged, '{"path":"/a"},'],
  // Some read it by the rules of ten releases.
  microsecondsPerByte: 300,
  check(input) {
    const older = ignitionReleases[input.length % ignitionReleases.length];
    for (const release of [ignitionReleases[0], older]) {
      if (release === undefined) continue;
      const check = checkIgnition(input, release);
      const { verdict, errors, warnings, advice } = check;
      require((verdict === 'reject') === errors.length > 0, () => `${verdict} with ${errors.length} errors`);
      require(verdict !== 'accept' || warnings.length === 0, () => `accepted with ${warnings.length} warnings`);
      for (const problem of [...errors, ...warnings, ...advice].slice(0, 20)) {
        const { line = 1, column = 1, message } = problem;
        require(message !== '' && line > 0 && column > 0, () => `the problem ${JSON.stringify(problem)}`);
        require(!/undefined|NaN|\[object/.test(message) || /undefined|NaN|\[object/.test(input.toString()), () =>
          formatProblem(problem));
      }
    }
    if (input.length % 8 === 0) assessIgnition(input, undefined);
  },
};
