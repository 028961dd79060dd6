import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReleaseDefaults } from '../../installer/defaults.ts';
import { type Options, parseOptions } from '../../installer/options.ts';
import { type InstallPlan, makePlan, settingsOf } from '../../installer/plan.ts';

const elsewhere: ReleaseDefaults = { board: 'amd64-usr', channel: 'stable', version: 'current', oem: '' };
const onFlatcar: ReleaseDefaults = { board: 'arm64-usr', channel: 'beta', version: '4100.2.0', oem: 'ami' };

function options(...args: string[]): Options {
  const parsed = parseOptions(args, elsewhere);
  assert.equal(parsed.kind, 'options', JSON.stringify(parsed));
  return parsed.kind === 'options' ? parsed.options : assert.fail();
}

function plan(args: readonly string[], defaults = elsewhere): InstallPlan {
  return makePlan(options(...args), defaults);
}

/**
 * Every option of the original: its letter, its long name, a value if it takes one, and what it
 * sets.
 */
const table = [
  ['-d', '--device', '/dev/sdb', { device: '/dev/sdb' }],
  ['-s', '--smallest', undefined, { smallest: true }],
  ['-I', '--include-majors', '8,259', { includeMajors: [8, 259] }],
  ['-e', '--exclude-majors', '7', { excludeMajors: [7] }],
  ['-D', '--download-only', undefined, { downloadOnly: true }],
  ['-V', '--release-version', '3510.2.1', { releaseVersion: '3510.2.1' }],
  ['-B', '--board', 'arm64-usr', { board: 'arm64-usr' }],
  ['-C', '--channel', 'alpha', { channel: 'alpha' }],
  ['-o', '--oem', 'ami', { oem: 'ami' }],
  ['-c', '--cloud-config', 'cloud.yaml', { cloudConfig: 'cloud.yaml' }],
  ['-i', '--ignition', 'config.ign', { ignition: 'config.ign' }],
  ['-t', '--temp-dir', '/var/tmp', { tempDir: '/var/tmp' }],
  ['-b', '--base-url', 'http://mirror', { baseUrl: ['http://mirror'] }],
  ['-k', '--key', 'key.asc', { key: 'key.asc' }],
  ['-f', '--image-file', 'image.bin', { imageFile: 'image.bin' }],
  ['-n', '--copy-network', undefined, { copyNetwork: true }],
  ['-u', '--uefi-entry', undefined, { uefiEntry: true }],
  ['-y', '--dry-run', undefined, { dryRun: true }],
  ['-v', '--verbose', undefined, { verbose: true }],
] as const;

const always = { tries: 10, timeout: 20, wait: 0, reread: true, zeroOffload: true };

for (const [short, long, value, sets] of table) {
  test(`parseOptions() knows ${short} and ${long}`, () => {
    const forms =
      value === undefined
        ? [[short], [long]]
        : [[short, value], [`${short}${value}`], [long, value], [`${long}=${value}`]];
    for (const form of forms) assert.deepEqual(options(...form), { ...always, ...sets }, form.join(' '));
    if (value !== undefined) {
      assert.match(
        JSON.stringify(parseOptions([short], elsewhere)),
        new RegExp(`${short}, ${long} <.+>' argument missing`),
      );
    }
  });
}

/** What the original lacks. */
const fingerprint = 'F88CFEDEFF29A5B4D9523864E25D9AED0593B34A';
const additions = [
  ['--min-size', '20GB', { minSize: 20_000_000_000 }],
  ['--min-size', '1.5 GiB', { minSize: 1_610_612_736 }],
  ['--min-size', '512', { minSize: 512 }],
  ['--wipe-members', undefined, { wipeMembers: 'own' }],
  ['--wipe-members=foreign', undefined, { wipeMembers: 'foreign' }],
  ['--wait', '30', { wait: 30 }],
  [
    '--match',
    'model=a*',
    { match: [{ text: 'model=a*', conditions: [{ property: 'model', operator: '=', value: 'a*' }] }] },
  ],
  [
    '--never',
    'size<1TB',
    { never: [{ text: 'size<1TB', conditions: [{ property: 'size', operator: '<', value: '1TB' }] }] },
  ],
  ['--save-partlabel', 'data,var-*', { savePartlabel: ['data', 'var-*'] }],
  [
    '--save-partindex',
    '5,8-10,20-',
    {
      savePartindex: [
        { first: 5, last: 5 },
        { first: 8, last: 10 },
        { first: 20, last: Number.POSITIVE_INFINITY },
      ],
    },
  ],
  ['--save-partindex', '-3', { savePartindex: [{ first: 1, last: 3 }] }],
  ['--list-disks', undefined, { listDisks: true }],
  ['--key-fingerprint', fingerprint, { keyFingerprint: fingerprint }],
  ['--key-fingerprint', 'f88c fede ff29 a5b4 d952  3864 e25d 9aed 0593 b34a', { keyFingerprint: fingerprint }],
  ['--insecure', undefined, { insecure: true }],
  ['--ignition-url', 'https://server/a.ign', { ignitionUrl: 'https://server/a.ign' }],
  ['--ignition-hash', 'sha256-00', { ignitionHash: 'sha256-00' }],
  ['--ignition-version', '2.24.0', { ignitionVersion: '2.24.0' }],
  ['--ignition-unchecked', undefined, { ignitionUnchecked: true }],
  ['--check-ignition', 'a.ign', { checkIgnition: ['a.ign'] }],
  ['--append-karg', 'quiet', { appendKarg: ['quiet'] }],
  ['--console', 'ttyS0', { console: ['ttyS0'] }],
  ['--delete-karg', 'quiet', { deleteKarg: ['quiet'] }],
  ['--platform', 'vmware', { platform: 'vmware' }],
  ['--image-url', 'http://server/a', { imageUrl: 'http://server/a' }],
  ['--sha256', 'AB'.repeat(32), { sha256: { algorithm: 'sha256', digest: 'ab'.repeat(32) } }],
  ['--sha512', 'ab'.repeat(64), { sha512: { algorithm: 'sha512', digest: 'ab'.repeat(64) } }],
  ['--offline', undefined, { offline: true }],
  ['--read-back', undefined, { readBack: true }],
  ['--no-reread', undefined, { reread: false }],
  ['--no-zero-offload', undefined, { zeroOffload: false }],
  ['--json', undefined, { json: true }],
  ['--log-file', '/tmp/log', { logFile: '/tmp/log' }],
  ['--tries', '3', { tries: 3 }],
  ['--timeout', '0.5', { timeout: 0.5 }],
] as const;

for (const [name, value, sets] of additions) {
  test(`parseOptions() knows ${name}${value === undefined ? '' : ` ${value}`}`, () => {
    assert.deepEqual(options(name, ...(value === undefined ? [] : [value])), { ...always, ...sets });
  });
}

test('parseOptions() collects what may be repeated', () => {
  const args = ['--append-karg', 'a', '-b', 'x', '--append-karg=b=1', '--console', 'tty0', '-by', '--console', 'ttyS1'];
  const { appendKarg, console, baseUrl } = options(...args);
  assert.deepEqual(
    [appendKarg, console, baseUrl],
    [
      ['a', 'b=1'],
      ['tty0', 'ttyS1'],
      ['x', 'y'],
    ],
  );
});

test('parseOptions() takes several files after --check-ignition, up to the next option', () => {
  assert.deepEqual(options('--check-ignition', 'a', '-', 'b', '-V', '4593.2.5'), {
    ...always,
    checkIgnition: ['a', '-', 'b'],
    releaseVersion: '4593.2.5',
  });
  const after = { ...always, checkIgnition: ['a', 'b'], json: true };
  assert.deepEqual(options('--check-ignition', '--json', 'a', 'b'), after);
  assert.deepEqual(options('--check-ignition', 'a', '--json', 'b'), after);
  assert.deepEqual(parseOptions(['--check-ignition'], elsewhere), {
    kind: 'wrong',
    message: 'no file is given with --check-ignition',
  });
});

test('parseOptions() takes bundled letters as getopts does', () => {
  assert.deepEqual(options('-sv'), { ...always, smallest: true, verbose: true });
  assert.deepEqual(options('-svyi', 'x.ign'), {
    ...always,
    smallest: true,
    verbose: true,
    dryRun: true,
    ignition: 'x.ign',
  });
  assert.deepEqual(options('-vd/dev/sda'), { ...always, verbose: true, device: '/dev/sda' });
  assert.deepEqual(options('-o', ''), { ...always, oem: '' });
  assert.deepEqual(options('-d', '-s'), { ...always, device: '-s' });
  assert.deepEqual(options('-C', 'beta', '-C', 'alpha'), { ...always, channel: 'alpha' });
});

test('makePlan() and parseOptions() refuse what has no effect', () => {
  assert.throws(
    () => plan(['-D', '-f', 'image.bin']),
    /image\.bin is given with -f, and needs no download \(leave out/,
  );
  for (const empty of ['', ','])
    assert.match(JSON.stringify(parseOptions(['-s', '--save-partlabel', empty], elsewhere)), /Give labels/);
});

test('parseOptions() refuses operands, and --version among other options', () => {
  for (const args of [
    ['junk', '-d', '/dev/sda'],
    ['-s', 'junk'],
    ['-s', '--', '-v'],
  ])
    assert.match(
      JSON.stringify(parseOptions(args, elsewhere)),
      /"kind":"wrong","message":"'(junk|-v)' is no option"/,
      args.join(' '),
    );
  assert.match(JSON.stringify(parseOptions(['-s', '--version'], elsewhere)), /'--version' must be the only one/);
});

test('parseOptions() says what is wrong with a command line', () => {
  const messages = ([args, message]: [string[], RegExp]) => {
    const parsed = parseOptions(args, elsewhere);
    assert.match(parsed.kind === 'wrong' ? parsed.message : '', message);
  };
  messages([['-x'], /^unknown option '-x'$/]);
  messages([['--smalest'], /^unknown option '--smalest'\s+\(Did you mean --smallest\?\)$/]);
  messages([['--devcie', 'x'], /^unknown option '--devcie' \(Did you mean --device\?\)$/]);
  messages([['--devcie=x'], /\(Did you mean --device\?\)$/]);
  messages([['--completion', 'csh'], /'csh' is invalid\. Give one of bash, zsh, fish/]);
  messages([['-s', '--completion', 'zsh'], /^option '--completion' must be the only one$/]);
  messages([['--completion=zsh', 'junk'], /^option '--completion' must be the only one$/]);
  messages([['-s', '-I', 'sda'], /'sda' is invalid\. Give numbers separated by commas/]);
  messages([['-s', '-e', '8,'], /'8,' is invalid/]);
  // As lsblk does it, which the original runs with them.
  messages([['-s', '-e', '8', '-I', '7'], /^option '-e, --exclude-majors <numbers>' cannot be used with option '-I,/]);
  messages([['--tries', '0'], /Give a number greater than zero/]);
  messages([['--min-size', '20G'], /'20G' is invalid\. Give a size such as 20GB or 16GiB/]);
  messages([['--key-fingerprint', 'E25D9AED0593B34A'], /Give all 40 hexadecimal digits/]);
  for (const range of ['0', '8-5', '-', '1,,2', 'data'])
    messages([['--save-partindex', range], /Give numbers and ranges separated by commas, such as 5,8-10/]);
  messages([['--match', 'colour=red'], /'colour' is none of model, vendor/]);
  messages([['--wipe-members=all'], /Give nothing, or foreign/]);
  messages([['--wait', 'soon'], /Give a number of seconds/]);
  for (const size of ['1000', '4GiB']) messages([['--zstd-window', size], /Give a size from 1KiB to 2GiB/]);
  for (const oldest of ['yesterday', '2025-13-01', '4230'])
    messages([['--not-older-than', oldest], /Give a version such as 4230\.2\.1 or a date such as 2025-10-01/]);
});

test('parseOptions() shows help wherever -h stands, with the defaults of this machine', () => {
  for (const args of [['-h'], ['--help'], ['-sh'], ['-d', '/dev/sda', '-h', 'junk']]) {
    const parsed = parseOptions(args, onFlatcar);
    assert.equal(parsed.kind, 'text');
    const text = parsed.kind === 'text' ? parsed.text : '';
    for (const [short, long] of table) assert.match(text, new RegExp(`^  ${short}, ${long}\\b`, 'm'));
    assert.match(text, /channel to install: .*\(default: beta\)/s);
  }
});

test('makePlan() lets -s win over -d, and needs a target unless only downloading', () => {
  assert.deepEqual(plan(['-d', '/dev/sda']).target, {
    ...{ kind: 'device', path: '/dev/sda', minBytes: undefined, never: undefined, waitSeconds: 0 },
    wipeMembers: undefined,
  });
  assert.equal(plan(['-d', '/dev/sda', '--wipe-members']).target?.wipeMembers, 'own');
  assert.equal(plan(['-d', '/dev/sda', '-s']).target?.kind, 'smallest');
  assert.deepEqual(plan(['-s', '-e', '259']).target, {
    kind: 'smallest',
    minBytes: undefined,
    includeMajors: undefined,
    excludeMajors: [259],
    ...{ match: undefined, never: undefined, wipeMembers: undefined, waitSeconds: 0 },
  });
  assert.equal(plan(['--match', 'model=a*']).target?.kind, 'smallest');
  assert.throws(() => plan(['-d', '/dev/sda', '--match', 'model=a*']), /give either -d or --match/);
  assert.equal(plan(['-D', '-d', '/dev/sda']).target, undefined);
  assert.throws(() => plan([]), /no target block device provided \(give -d DEVICE/);
});

for (const [args, channel, version] of [
  [[], 'beta', '4100.2.0'],
  [['-V', '3510.2.1'], 'beta', '3510.2.1'],
  [['-C', 'alpha'], 'alpha', 'current'],
  [['-C', 'beta'], 'beta', 'current'],
  [['-C', 'lts', '-V', 'current-2024'], 'lts', 'current-2024'],
  [['-V', 'alpha'], 'alpha', 'current'],
  [['-V', 'edge', '-C', 'beta'], 'edge', 'current'],
  [['-V', 'lts'], 'beta', 'lts'],
] as const) {
  test(`makePlan() makes ${channel} ${version} of '${args.join(' ')}' on a machine that runs beta 4100.2.0`, () => {
    const { release } = plan(['-s', ...args], onFlatcar);
    assert.deepEqual([release.channel, release.version, release.oem], [channel, version, 'ami']);
  });
}

test('makePlan() lets an empty -o choose the image without OEM', () => {
  assert.equal(plan(['-s', '-o', ''], onFlatcar).release.oem, '');
});

test('makePlan() takes mirrors as wget does, each once', () => {
  assert.deepEqual(plan(['-s', '-b', 'http://mirror/flatcar/']).release.baseUrls, ['http://mirror/flatcar']);
  assert.deepEqual(plan(['-s', '-b', 'mirror.example/flatcar']).release.baseUrls, ['http://mirror.example/flatcar']);
  const several = plan(['-s', '-b', 'b.example', '-b', 'http://a.example', '-b', 'b.example/']).release;
  assert.deepEqual(several.baseUrls, ['http://b.example', 'http://a.example']);
  assert.equal(plan(['-s', '-b', '']).release.baseUrls, undefined);
});

test('settingsOf() names the settings as the original does', () => {
  const names = Object.keys(settingsOf(plan(['-s'])));
  assert.deepEqual(names, ['VERSION', 'BOARD', 'CHANNEL', 'OEM', 'CLOUD', 'IGNITION', 'BASEURL', 'KEYFILE', 'IMAGE']);
});

for (const [args, says] of [
  [
    [],
    /^cannot work offline without a local image: that needs the network \(give the path of one with -f, or leave out --offline\)$/,
  ],
  [['-D'], /^cannot work offline with -D: that needs the network \(leave out --offline\)$/],
  [
    ['-f', 'image.bin', '--ignition-url', 'https://server/a.ign'],
    /^cannot work offline with https:\S+: that needs the network \(download it first and give the file with -i\)$/,
  ],
] as const) {
  test(`makePlan() refuses --offline ${args.join(' ')} and says what is needed`, () => {
    assert.throws(() => plan(['-s', '--offline', ...args]), { message: says });
  });
}

test('makePlan() works offline with local files alone', () => {
  const { imageFile, configuration } = plan(['-s', '--offline', '-f', 'image.bin', '-i', 'a.ign']);
  assert.deepEqual([imageFile, configuration.ignition], ['image.bin', 'a.ign']);
});

const sha256 = 'ab'.repeat(32);
for (const [args, says] of [
  [['--ignition-url', 'http://server/a'], /plain HTTP can be tampered with \(use https, or add --ignition-hash/],
  [['--ignition-url', 'file:///a'], /it is not an HTTP URL \(give a file with -i\)$/],
  [['--ignition-url', 'https://server/a', '-i', 'b'], /b is given too \(give either -i or --ignition-url\)$/],
  [['--ignition-hash', `sha256-${sha256}`], /there is a hash but no config/],
  [['-i', 'a', '--ignition-hash', 'sha512-00'], /cannot use the hash sha512-00: it must be sha512- with 128/],
  [['-i', 'a', '--ignition-hash', `md5-${sha256}`], /cannot use the hash md5-/],
] as const) {
  test(`makePlan() refuses ${args.join(' ').slice(0, 70)}`, () => {
    assert.throws(() => plan(['-s', ...args]), { message: says });
  });
}

test('makePlan() takes an Ignition config from a URL: over https, or over http with its hash', () => {
  const secure = plan(['-s', '--ignition-url', 'https://server/a.ign']).configuration;
  assert.deepEqual([secure.ignitionUrl?.href, secure.ignitionHash], ['https://server/a.ign', undefined]);
  const hashed = plan(['-s', '--ignition-url', 'http://server/a', '--ignition-hash', `SHA256-${sha256.toUpperCase()}`]);
  assert.deepEqual(hashed.configuration.ignitionHash, { algorithm: 'sha256', digest: sha256 });
});

const sha512 = 'ab'.repeat(64);
for (const [args, says] of [
  [
    ['--image-url', 'http://a/i', '-f', 'b'],
    /cannot install http:\/\/a\/i: b is given too \(give either -f or --image-url\)/,
  ],
  [
    ['--image-url', 'http://a/i', '-b', 'http://m'],
    /mirrors of releases are given too \(give either -b or --image-url\)/,
  ],
  [['--image-url', 'ftp://a/i'], /cannot download ftp:\/\/a\/i: it is not an HTTP URL/],
  [['-D', '--image-url', 'http://a/i/'], /it does not end with the name of a file/],
  [['-D', '--image-url', 'http://a/..%2fi'], /it does not end with the name of a file/],
  [['--offline', '--image-url', 'http://a/i'], /cannot work offline with http:\/\/a\/i.*give the file with -f\)/],
  [['-f', '-', '-i', '-'], /standard input is the Ignition config too/],
  [['-f', 'a', '--sha512', sha512, '--sha256', sha256], /two hashes are given/],
  [['-f', 'a', '--sha512', sha512, '-k', 'key'], /with its hash no key is needed/],
  [['-o', 'ami', '--platform', 'metal'], /cannot install for the platform metal: the image of the OEM ami is made for/],
] as const) {
  test(`makePlan() refuses ${args.join(' ').slice(0, 70)}`, () => {
    assert.throws(() => plan(['-s', ...args]), { message: says });
  });
}

test('makePlan() takes an image from a URL as wget does, without the mirrors of the site', () => {
  const site = { baseUrls: ['http://site'], keyFile: undefined, authorities: [], waitSeconds: 0 };
  const { imageUrl, release, configuration } = makePlan(options('-s', '--image-url', 'host/i'), elsewhere, site);
  assert.deepEqual([imageUrl?.href, release.baseUrls, configuration.flatcar], ['http://host/i', undefined, undefined]);
  assert.equal(settingsOf(plan(['-s', '--image-url', 'host/i']))['BASEURL'], '');
});

test('parseOptions() says what a hash and a platform look like', () => {
  for (const [args, message] of [
    [['--sha512', sha256], /Give 128 hexadecimal digits, as sha512sum shows them/],
    [['--sha256', 'x'.repeat(64)], /Give 64 hexadecimal digits, as sha256sum shows them/],
    [['--platform', 'a b'], /Give an ID such as metal, qemu or vmware/],
  ] as const)
    assert.match(JSON.stringify(parseOptions(args, elsewhere)), message);
});
