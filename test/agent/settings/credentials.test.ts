import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseArguments } from '../../../agent/settings/arguments.ts';
import { loadConfig, loadSettings } from '../../../agent/settings/config.ts';
import { registryCredentialsFrom, secretsFrom } from '../../../agent/settings/credentials.ts';

async function configWith(...flags: readonly string[]) {
  const usual = ['--id=m', '--grpc-server=h:1', '--kernel-command-line=/dev/null'];
  return (await loadConfig(parseArguments([...usual, ...flags]), {})).config;
}

test('registryCredentialsFrom() gives the credentials of the main registry to its host, without the path', async () => {
  const main = ['--docker-registry=https://reg:5000/hub', '--registry-user=u', '--registry-pass=p'];
  assert.deepEqual(registryCredentialsFrom(await configWith(...main, '--registries=other=v:q')), [
    { host: 'reg:5000', username: 'u', password: 'p' },
    { host: 'other', username: 'v', password: 'q' },
  ]);
});

test('registryCredentialsFrom() has none for a registry without user name or password', async () => {
  assert.deepEqual(registryCredentialsFrom(await configWith('--docker-registry=reg:5000', '--registry-user=u')), []);
});

test('secretsFrom() finds all passwords, those in URLs as written and as meant, and secret template variables', async () => {
  const config = await configWith(
    ...['--registry-pass=one', '--registries=other=v:two', '--https-proxy=user:th%72ee@proxy:1'],
    ...['--set=password=four', '--set=disk=/dev/sda'],
  );
  assert.deepEqual(secretsFrom(config).sort(), ['four', 'one', 'th%72ee', 'three', 'two']);
});

test('secretsFrom() has the whole password of a proxy that cannot be used, whatever is in it', async () => {
  const flags = parseArguments(['--kernel-command-line=/dev/null']);
  for (const password of ['s3cr/et', 's3/cr@et', 's3:cr/et', '100%']) {
    const { config } = await loadSettings(flags, { NIBS_HTTP_PROXY: `http://bob:${password}@proxy:1` });
    assert.equal(String(config.httpProxy), '(unusable)');
    assert.deepEqual(secretsFrom(config), [password]);
  }
});
