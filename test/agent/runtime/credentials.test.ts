import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { credentialsFor, storedCredentialsFor } from '../../../agent/runtime/credentials.ts';

let directory = '';
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-docker-config-'));
});
after(() => rm(directory, { recursive: true }));

async function store(config: unknown): Promise<void> {
  await writeFile(join(directory, 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
}

const base64 = (text: string) => Buffer.from(text).toString('base64');

test('credentialsFor() returns credentials for exactly their host', () => {
  const credentials = [{ host: 'reg.example.com:5000', username: 'u', password: 'p' }];
  assert.deepEqual(credentialsFor('reg.example.com:5000', credentials), {
    username: 'u',
    password: 'p',
  });
  for (const host of ['reg.example.com', 'reg.example.com:50001', 'evil-reg.example.com:5000', 'docker.io']) {
    assert.equal(credentialsFor(host, credentials), undefined, host);
  }
});

test('storedCredentialsFor() reads what docker login wrote', async () => {
  await store({
    auths: {
      'https://index.docker.io/v1/': { auth: base64('hub:a:b') },
      'reg:5000': { auth: base64('user:password') },
      'token.example.com': { identitytoken: 'abc' },
      'helper.example.com': {},
    },
    credsStore: 'desktop',
  });
  assert.deepEqual(await storedCredentialsFor('docker.io', directory), {
    username: 'hub',
    password: 'a:b',
  });
  assert.deepEqual(await storedCredentialsFor('reg:5000', directory), { username: 'user', password: 'password' });
  assert.deepEqual(await storedCredentialsFor('token.example.com', directory), { identityToken: 'abc' });
  assert.equal(await storedCredentialsFor('helper.example.com', directory), undefined);
  assert.equal(await storedCredentialsFor('reg', directory), undefined);
});

test('storedCredentialsFor() finds nothing without a file', async () => {
  assert.equal(await storedCredentialsFor('reg:5000', join(directory, 'missing')), undefined);
});

test('storedCredentialsFor() never quotes a file that it cannot read', async () => {
  for (const broken of ['{"auths": {"reg": {"auth": canary}}}', { auths: { reg: { auth: ['canary'] } } }]) {
    await store(broken);
    await assert.rejects(
      storedCredentialsFor('reg', directory),
      (error: Error) => error.message.includes(directory) && !/canary/.test(`${error.stack}${String(error.cause)}`),
    );
  }
});
