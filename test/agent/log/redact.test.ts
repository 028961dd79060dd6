import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { createRedactor, looksSecret, Secret } from '../../../agent/log/redact.ts';

test('looksSecret() tells secrets by their name', () => {
  for (const name of [
    'PASSWORD',
    'registry_password',
    'DB_PASSWD',
    'API_KEY',
    'apiKey',
    'GITHUB_TOKEN',
    'clientSecret',
    'AWS_SECRET_ACCESS_KEY',
    'SSH_KEY',
    'AUTH',
    'PRIVATE_PEM',
    'USER_DATA',
  ]) {
    assert.ok(looksSecret(name), name);
  }
  for (const name of ['DEST_DISK', 'IMG_URL', 'COMPRESSED', 'GIT_AUTHOR_NAME', 'KEYBOARD', 'MONKEY', 'FS_TYPE']) {
    assert.ok(!looksSecret(name), name);
  }
});

test('redact() masks a learned value wherever and in whatever encoding it turns up', () => {
  const redactor = createRedactor();
  const secret = 'p"ss\\w/rd+1';
  redactor.learn(secret);
  const text = [
    secret,
    JSON.stringify({ secret }),
    JSON.stringify(JSON.stringify({ secret })),
    encodeURIComponent(secret),
    Buffer.from(secret).toString('base64'),
  ];
  for (const form of text) {
    const redacted = redactor.redact(`before ${form} after`);
    assert.match(redacted, /^before .*\*\*\*.* after$/);
    assert.doesNotMatch(redacted, /rd/, redacted);
  }
});

test('redact() masks each line of a secret of several lines', () => {
  const redactor = createRedactor();
  redactor.learn('first line\nsecond line\n');
  assert.equal(redactor.redact('x second line y'), 'x *** y');
});

test('redact() masks the longer one of two secrets that overlap', () => {
  const redactor = createRedactor();
  redactor.learn('hunter');
  redactor.learn('hunter22');
  assert.equal(redactor.redact('hunter22 hunter'), '*** ***');
});

test('redact() leaves texts alone that only hold very short values', () => {
  const redactor = createRedactor();
  redactor.learn('1');
  redactor.learn('');
  assert.equal(redactor.redact('1 + 1 = 2'), '1 + 1 = 2');
});

test('redact() masks the password in a URL that it has not learned', () => {
  assert.equal(createRedactor().redact('get http://user:pa55@proxy:3128/x'), 'get http://user:***@proxy:3128/x');
});

test('learnEnvironment() learns the values of variables that look like secrets, and no others', () => {
  const redactor = createRedactor();
  redactor.learnEnvironment(['DB_PASSWORD=hunter22', 'DISK=/dev/sda', 'TOKEN', 'API_TOKEN=abc=def']);
  assert.equal(redactor.redact('hunter22 /dev/sda abc=def'), '*** /dev/sda ***');
});

test('a Secret is shown by reveal() only', () => {
  const secret = new Secret('hunter22');
  assert.equal(secret.reveal(), 'hunter22');
  for (const shown of [
    String(secret),
    `${secret}`,
    JSON.stringify({ secret }),
    inspect({ secret }),
    inspect(secret, { showHidden: true }),
  ]) {
    assert.doesNotMatch(shown, /hunter/);
  }
});
