import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { createRedactor, Secret } from '../../../agent/log/redact.ts';
import { looksSecret } from '../../../agent/log/secret-names.ts';

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
    'DATABASE_URL',
    'JWT',
    'COOKIE',
    'PSK',
    'WIFI_PSK',
    'SSH_KEYS',
    'sshKeys',
    'SESSION_ID',
    'DB_PASS',
    'PGPASSWORD',
  ]) {
    assert.ok(looksSecret(name), name);
  }
  for (const name of [
    'DEST_DISK',
    'IMG_URL',
    'COMPRESSED',
    'GIT_AUTHOR_NAME',
    'KEYBOARD',
    'MONKEY',
    'FS_TYPE',
    'passed',
    'IMAGE_URL',
  ]) {
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

/** The forms in which a secret may come back from a server, a registry or an action. */
const encodings: Readonly<Record<string, (secret: string) => string>> = {
  plain: (secret) => secret,
  'Base64, first alignment': (secret) => Buffer.from(secret).toString('base64'),
  'Base64, second alignment': (secret) => Buffer.from(`u${secret}`).toString('base64'),
  'Base64, third alignment': (secret) => Buffer.from(`u:${secret}`).toString('base64'),
  'Base64 of user and password': (secret) => Buffer.from(`bob:${secret}`).toString('base64'),
  'Base64 for URLs': (secret) =>
    Buffer.from(`{"username":"bob","password":${JSON.stringify(secret)}}`).toString('base64url'),
  'Base64 in lines': (secret) =>
    Buffer.from(`${'x'.repeat(50)}${secret}`)
      .toString('base64')
      .replace(/.{76}/g, '$&\n'),
  JSON: (secret) => JSON.stringify({ secret }),
  'JSON with escaped slashes': (secret) => JSON.stringify({ secret }).replaceAll('/', '\\/'),
  'JSON, all escaped': (secret) =>
    `"${Array.from({ length: secret.length }, (_, at) => `\\u${secret.charCodeAt(at).toString(16).padStart(4, '0')}`).join('')}"`,
  'JSON within JSON': (secret) => JSON.stringify(JSON.stringify({ secret })),
  'percent escapes': (secret) => encodeURIComponent(secret),
  'percent escapes in lower case': (secret) => encodeURIComponent(secret).replace(/%../g, (code) => code.toLowerCase()),
  'all percent escapes': (secret) =>
    [...Buffer.from(secret)].map((b) => `%${b.toString(16).padStart(2, '0')}`).join(''),
  'a URL within JSON': (secret) => JSON.stringify({ url: `https://host/?x=${encodeURIComponent(secret)}` }),
  'Base64 in a URL': (secret) => encodeURIComponent(Buffer.from(`??>${secret}`).toString('base64')),
  hexadecimal: (secret) => Buffer.from(secret).toString('hex'),
  'hexadecimal in upper case': (secret) => Buffer.from(`a${secret}`).toString('hex').toUpperCase(),
  'escapes of bytes': (secret) => [...Buffer.from(secret)].map((b) => `\\x${b.toString(16).padStart(2, '0')}`).join(''),
};

/** The secret is in none of the texts that a reader may get out of this one. */
function assertHidden(text: string, secret: string): void {
  const base64 = [0, 1, 2, 3].map((skip) =>
    [...text.replaceAll('\n', '').matchAll(/[\w+/-]{4,}/g)].map(([run]) =>
      Buffer.from(run.slice(skip), 'base64').toString('latin1'),
    ),
  );
  const escaped = text.replace(/\\u00(..)|\\x(..)|%(..)/gi, (_, a, b, c) =>
    String.fromCharCode(Number.parseInt(a ?? b ?? c, 16)),
  );
  const hex = [...text.matchAll(/[\da-f]{8,}/gi)].map(([run]) => Buffer.from(run, 'hex').toString('latin1'));
  const all = [text, escaped, ...base64.flat(), ...hex].join('\n');
  for (let length = secret.length; length >= 6; length--)
    for (let at = 0; at + length <= secret.length; at++)
      assert.ok(!all.includes(secret.slice(at, at + length)), `${secret.slice(at, at + length)} is in ${text}`);
}

for (const [name, encode] of Object.entries(encodings)) {
  test(`redact() masks a known secret in this form: ${name}`, () => {
    for (const secret of [
      'hunter2-and/more+?~',
      'Zm9vYmFyLWJheg',
      'pässwörd-üß',
      'p"ss\\w/rd+1',
      'corre ct-hor se',
      'key-🔑-of-all',
    ]) {
      const redactor = createRedactor();
      redactor.learn(secret);
      const text = redactor.redact(`before ${encode(secret)} after`);
      assert.match(text, /^before .*\*\*\*.* after$/s, text);
      assertHidden(text, secret);
    }
  });
}

test('redact() masks credentials that it does not know, by their form', () => {
  const { redact } = createRedactor();
  const cases: Readonly<Record<string, string>> = {
    'got Basic Ym9iOnBhNTU=, refused': 'got Basic ***, refused',
    'got Bearer abc.def-123': 'got Bearer ***',
    'Authorization: Basic Ym9iOnBhNTU=': 'Authorization: Basic ***',
    'Authorization: opensesame': 'Authorization: ***',
    [`Authorization:${' '.repeat(70)}opensesame`]: `Authorization:${' '.repeat(70)}***`,
    '{"Authorization":["Bearer opensesame"]}': '{"Authorization":["Bearer ***"]}',
    'X-Registry-Auth: eyJ1c2VybmFtZSI6ImJvYiJ9': 'X-Registry-Auth: ***',
    'get /v2/?token=opensesame&scope=x': 'get /v2/?token=***&scope=x',
    'get /v2/%3Ftoken%3Dopensesame%26scope': 'get /v2/%3Ftoken%3D***%26scope',
    'run x --password=opensesame --user=bob': 'run x --password=*** --user=bob',
    'run x --password opensesame --user bob': 'run x --password *** --user bob',
    'export DB_PASSWORD="opensesame" A=b': 'export DB_PASSWORD="***" A=b',
    '{"password":"open sesame","user":"bob"}': '{"password":"***","user":"bob"}',
    '{\\"password\\": \\"opensesame\\",\\"user\\":\\"bob\\"}': '{\\"password\\": \\"***\\",\\"user\\":\\"bob\\"}',
    'clone https://opensesame@host/x': 'clone https://***@host/x',
    'clone https://bob:opensesame@host/x': 'clone https://bob:***@host/x',
    'clone https://bob:open@sesame@host/x': 'clone https://bob:***@host/x',
    'clone https://bob:open/sesame@host/x': 'clone https://bob:***@host/x',
    'clone https://bob:opensesame@host?mail=a%40b': 'clone https://bob:***@host?mail=a%40b',
    'clone https:\\/\\/opensesame@host\\/x': 'clone https:\\/\\/***@host\\/x',
    'to https%3A%2F%2Fbob%3Aopensesame%40host': 'to https%3A%2F%2Fbob%3A***%40host',
  };
  assert.deepEqual(Object.fromEntries(Object.keys(cases).map((text) => [text, redact(text)])), cases);
});

test('redact() leaves ordinary texts as they are', () => {
  const { redact } = createRedactor();
  for (const text of [
    'Basic authentication is required, Bearer tokens are not: token not found',
    'tests passed=12 failed=0, author=bob, /dev/sda=claimed',
    'clone ssh://git@host/x, mail bob@example.com',
    'pull oci://host:5000/team/image@sha256:ab from http://[fd00::1]:80/a@b or https://host:80/a:b/c@d',
    'the password is wrong; unauthorized: authentication required',
    '--help --user bob a=b {"name":"install","image":"registry/x:1"}',
  ])
    assert.equal(redact(text), text);
});

for (const [name, encode] of Object.entries(encodings)) {
  test(`redactParts() masks a secret that is cut in two, in any form and at any place: ${name}`, () => {
    const secret = 'key-🔑/of+"all" the doors';
    const text = `before ${encode(secret)} after`;
    const redactor = createRedactor();
    redactor.learn(secret);
    const visible = `before ${encode('')} after`.length;
    for (let cut = 1; cut < text.length; cut++) {
      // Parts end between characters.
      if (!text.slice(0, cut).isWellFormed()) continue;
      const redactPart = redactor.redactParts();
      const masked = [redactPart(text.slice(0, cut), true), redactPart(text.slice(cut), false)].join('');
      assert.match(masked, /\*\*\*/, `${cut}: ${masked}`);
      assertHidden(masked, secret);
      // What is left of it, shorter than four characters of up to seven bytes each, says nothing.
      assert.ok(masked.replaceAll('***', '').length <= visible + 28, `${cut}: ${masked}`);
    }
  });
}

test('redactParts() masks the rest of a secret although another one is learned between the parts', () => {
  const secret = 'hunter2-and-more-and-more';
  for (let cut = 4; cut < secret.length; cut++) {
    const redactor = createRedactor();
    redactor.learn(secret);
    const redactPart = redactor.redactParts();
    const first = redactPart(`x ${secret.slice(0, cut)}`, true);
    redactor.learn('learned meanwhile');
    const rest = redactPart(`${secret.slice(cut)} y learned mean`, true);
    assert.deepEqual([first, rest, redactPart('while z', false)], ['x ***', '*** y ***', '*** z']);
  }
});

test('redact() masks what is left of a secret at the end of a text that was cut', () => {
  const redactor = createRedactor();
  redactor.learn('hunter2-and-more-and-more');
  assert.equal(redactor.redact('the registry says: hunter2-and-mo'), 'the registry says: ***');
  assert.equal(redactor.redact('the hunter2'), 'the hunter2');
});

test('learnEnvironment() learns the parts of values that are secrets themselves', async () => {
  const redactor = createRedactor();
  await redactor.learnEnvironment([
    'MIRROR=https://bob:in%2Furl@mirror/x',
    'PLAIN=https://bob:with@sign@mirror/x or https://bob:with/slash@mirror/x',
    'IMAGE=oci://host:5000/team/image@sha256:ab',
    'DOCKER_AUTH_CONFIG={"auths":{"registry":{"auth":"Ym9iOmluLWF1dGg="}}}',
    'DATABASE_URL=postgres://db',
    'TLS_PRIVATE=true',
  ]);
  assert.equal(redactor.redact('x in%2Furl in/url in-auth postgres://db true'), 'x *** *** *** *** true');
  assert.equal(redactor.redact('with@sign with/slash team/image'), '*** *** team/image');
});

test('forgetWorkflows() forgets the secrets of workflows, not those of the machine', async () => {
  const redactor = createRedactor();
  redactor.learn('of-the-machine');
  await redactor.learnEnvironment(['TOKEN=FAILED'], 'w1');
  await redactor.learnEnvironment(['TOKEN=other-one'], 'w2');
  assert.equal(redactor.redact('of-the-machine FAILED other-one'), '*** *** ***');
  await redactor.forgetWorkflows('w2');
  assert.equal(redactor.redact('of-the-machine FAILED other-one'), '*** FAILED ***');
  await redactor.forgetWorkflows();
  assert.equal(redactor.redact('of-the-machine FAILED other-one'), '*** FAILED other-one');
});

test('learn() counts also while the secrets of a workflow are learned', async () => {
  const redactor = createRedactor();
  const learned = redactor.learnEnvironment(
    Array.from({ length: 2000 }, (_, index) => `TOKEN_${index}=of-the-workflow-${index}`),
    'w1',
  );
  await setImmediate();
  redactor.learn('of-the-machine');
  assert.equal(redactor.redact('of-the-machine'), '***');
  await learned;
  assert.equal(redactor.redact('of-the-machine of-the-workflow-7'), '*** ***');
});

test('10,000 secrets in an action do not hold the agent up', async () => {
  // Alike, nested and repeated: the worst for tables of prefixes and for lists of patterns.
  const environment = Array.from(
    { length: 10_000 },
    (_, i) => `TOKEN_${i}=${'canary-'.repeat(3)}${i}-${'a'.repeat(i % 40)}`,
  );
  const redactor = createRedactor();
  const beganAt = process.cpuUsage();
  let turns = 0;
  let isLearned = false;
  const counting = (async () => {
    for (; !isLearned; turns++) await setImmediate();
  })();
  await redactor.learnEnvironment(environment, 'w1');
  isLearned = true;
  await counting;
  const line = `${'canary-'.repeat(2000)}1234-aaaa`;
  for (let i = 0; i < 20; i++) assert.match(redactor.redact(line), /\*\*\*$/);
  const { user, system } = process.cpuUsage(beganAt);
  assert.ok(user + system < 3_000_000, `${(user + system) / 1000} ms of the processor`);
  assert.ok(turns >= 30, `${turns} turns of the event loop`);
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

test('learnEnvironment() learns the values of variables that look like secrets, and no others', async () => {
  const redactor = createRedactor();
  await redactor.learnEnvironment(['DB_PASSWORD=hunter22', 'DISK=/dev/sda', 'TOKEN', 'API_TOKEN=abc=def']);
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
