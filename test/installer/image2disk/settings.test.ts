import { deepEqual, equal, match, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { findHash } from '../../../installer/image2disk/checks.ts';
import { readSettings } from '../../../installer/image2disk/settings.ts';
import { variables } from '../../../installer/image2disk/variables.ts';

const image = { IMG_URL: 'http://192.168.1.2/ubuntu.raw', DEST_DISK: '/dev/sda' };

function read(environment: Record<string, string>) {
  const odd: string[] = [];
  return { settings: readSettings(environment, (message) => odd.push(message), 0), odd };
}

test("the environment of the hub's documentation", () => {
  const { settings, odd } = read({ ...image, COMPRESSED: 'true' });
  deepEqual(settings.image, { kind: 'urls', urls: [new URL(image.IMG_URL)] });
  deepEqual(settings.target, {
    kind: 'device',
    path: '/dev/sda',
    minBytes: undefined,
    never: undefined,
    waitSeconds: 0,
    wipeMembers: undefined,
  });
  equal(settings.compressed, true);
  equal(settings.retryMinutes, 0);
  equal(settings.progressSeconds, 3);
  deepEqual(odd, []);
});

test('the words of the original for true and false; others are logged and are false', () => {
  for (const word of ['1', 't', 'T', 'true', 'TRUE', 'True'])
    equal(read({ ...image, READ_BACK: word }).settings.readBack, true);
  for (const word of ['0', 'f', 'F', 'false', 'FALSE', 'False', ''])
    deepEqual(read({ ...image, READ_BACK: word }).odd, []);
  const { settings, odd } = read({ ...image, COMPRESSED: 'yes' });
  equal(settings.compressed, false);
  deepEqual(odd, ['COMPRESSED=yes is neither true nor false, so it is false']);
});

test('a retry lasts ten minutes, or as long as it says', () => {
  equal(read({ ...image, RETRY_ENABLED: 'true' }).settings.retryMinutes, 10);
  equal(read({ ...image, RETRY_ENABLED: 'true', RETRY_DURATION_MINUTES: '3' }).settings.retryMinutes, 3);
  const { settings, odd } = read({ ...image, RETRY_ENABLED: 'true', RETRY_DURATION_MINUTES: 'ten' });
  equal(settings.retryMinutes, 10);
  deepEqual(odd, ['RETRY_DURATION_MINUTES=ten is no number from 1 to 999999, so it is 10']);
});

test('several URLs, a path, a file URL', () => {
  const two = read({ ...image, IMG_URL: 'http://a/x.gz  https://b/x.gz' }).settings.image;
  deepEqual(two, { kind: 'urls', urls: [new URL('http://a/x.gz'), new URL('https://b/x.gz')] });
  for (const text of ['/images/x.gz', 'file:///images/x.gz'])
    deepEqual(read({ ...image, IMG_URL: text }).settings.image, { kind: 'file', path: '/images/x.gz' });
});

test('the name of an image in a registry, with and without a login', () => {
  const named = (text: string, login = {}) => read({ ...image, ...login, IMG_URL: text }).settings.image;
  const login = { REGISTRY_USERNAME: 'foo', REGISTRY_PASSWORD: 'bar' };
  for (const [text, canonical] of [
    ['192.168.0.173/test/debian:raw.gz', '192.168.0.173/test/debian:raw.gz'],
    ['localhost/debian', 'localhost/debian:latest'],
    ['registry:5000/debian:1', 'registry:5000/debian:1'],
    ['oci://debian:raw', 'docker.io/library/debian:raw'],
  ] as const) {
    const origin = named(text, login);
    equal(origin.kind, 'registry');
    if (origin.kind !== 'registry') continue;
    equal(origin.reference.canonical, canonical);
    deepEqual(origin.login, { username: 'foo', password: 'bar' });
    equal(origin.verify, true);
  }
  const anonymous = named('registry.example/debian:raw', { REGISTRY_USERNAME: 'foo' });
  equal(anonymous.kind === 'registry' && anonymous.login, undefined);
});

test('a disk by its size or by what it is like', () => {
  equal(read({ ...image, DEST_DISK: 'smallest' }).settings.target.kind, 'smallest');
  const { target } = read({ ...image, DEST_DISK: 'transport=nvme,size>=400GB', DEST_WIPE_MEMBERS: 'own' }).settings;
  match(
    JSON.stringify(target),
    /"kind":"smallest","match":\[\{"text":"transport=nvme,size>=400GB".*"wipeMembers":"own"/,
  );
});

const refusals: readonly (readonly [environment: Record<string, string>, why: RegExp])[] = [
  [{ DEST_DISK: '/dev/sda' }, /IMG_URL is not set/],
  [{ IMG_URL: 'http://a/b' }, /DEST_DISK is not set/],
  [{ ...image, IMG_URL: 'ftp://a/b' }, /it is no URL of HTTP/],
  [{ ...image, IMG_URL: 'ubuntu.raw' }, /it is no URL of HTTP/],
  [{ ...image, IMG_URL: 'registry.example/UPPER:raw' }, /must be lower case/],
  [{ ...image, IMG_URL: '/a/b http://c/d' }, /it is no URL of HTTP/],
  [{ ...image, DEST_DISK: 'sda' }, /'sda' is no condition/],
  [{ ...image, DEST_DISK: 'colour=red' }, /'colour' is none of/],
  [{ ...image, FORMAT: 'qcow2' }, /only raw and host_device can be written/],
  [{ ...image, IMG_SHA256: 'abc' }, /it does not have 64 hexadecimal digits/],
  [{ ...image, IMG_SHA512: 'a'.repeat(64) }, /it does not have 128 hexadecimal digits/],
  [{ ...image, IMG_CHECKSUM_URL: 'SHA256SUMS' }, /it is no URL of HTTP/],
  [{ ...image, IMG_SIG_KEY: '/key.asc' }, /there is no signature to check with it/],
  [{ ...image, DEST_MIN_SIZE: 'large' }, /it is no size/],
  [{ ...image, DEST_WAIT_SECONDS: 'long' }, /it is no number of seconds/],
  [{ ...image, DEST_NEVER: 'usb' }, /'usb' is no condition/],
  [{ ...image, DEST_DISK: 'smallest', DEST_WIPE_MEMBERS: 'all' }, /it is neither own nor foreign/],
];
for (const [environment, why] of refusals) {
  test(`refused: ${why.source}`, () => {
    throws(() => read(environment), why);
  });
}

test('every variable that is read is in the help', () => {
  const read = new Set<string>();
  const environment = new Proxy<Record<string, string>>(
    { ...image, IMG_URL: 'registry.example/a:b', DEST_DISK: 'smallest', RETRY_ENABLED: '1' },
    {
      get(target, name: string) {
        read.add(name);
        return target[name];
      },
    },
  );
  readSettings(environment, () => {}, 0);
  const documented = new Set(variables.map(([name]) => name));
  documented.delete('TEXT_LOGGING'); // read before the others
  deepEqual([...read].toSorted(), [...documented].toSorted());
});

const digest = 'ab'.repeat(32);
const sums: readonly (readonly [title: string, text: string])[] = [
  ['sha256sum', `${'00'.repeat(32)}  other.gz\n${digest}  x.gz\n`],
  ['sha256sum --binary', `${digest} *x.gz\n`],
  ['a path', `${digest}  ./images/x.gz\n`],
  ['sha256sum --tag', `SHA256 (x.gz) = ${digest}\n`],
  ['nothing but the hash', `${digest.toUpperCase()}\n`],
  ['line ends of Windows', `${digest}  x.gz\r\n`],
];
for (const [title, text] of sums) {
  test(`a hash in the form of ${title}`, () => {
    deepEqual(findHash(text, 'x.gz', new URL('http://a/SUMS')), { algorithm: 'sha256', digest });
  });
}

test('a file without a hash of the image is refused, and one with two of them', () => {
  throws(
    () => findHash(`${digest}  y.gz\n`, 'x.gz', new URL('http://a/SUMS')),
    /has no SHA-256 or SHA-512 hash of x\.gz/,
  );
  const two = `${digest}  a/x.gz\n${'00'.repeat(32)}  b/x.gz\n`;
  throws(() => findHash(two, 'x.gz', new URL('http://a/SUMS')), /has several hashes of x\.gz/);
});
