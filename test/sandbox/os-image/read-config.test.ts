import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';

const init = join(import.meta.dirname, 'files/initramfs/init');

/**
 * Runs the function of the initramfs alone, in its shell. `say` and `fail` write to standard error,
 * and `fail` ends it.
 */
async function readConfig(config: unknown) {
  const [definition = ''] = /^read_config\(\) \{\n[\s\S]*?\n\}\n/m.exec(await readFile(init, 'utf8')) ?? [];
  const script = `say() { echo "$*" >&2; }; fail() { echo "$*" >&2; exit 1; }\n${definition}read_config`;
  const input = JSON.stringify(config, undefined, 1).replaceAll('": ', '" : ');
  return await execa('busybox', ['sh', '-c', script], { input, reject: false });
}

const users = { users: [{ name: 'core', sshAuthorizedKeys: ['ssh-rsa AAAA core@host'] }] };

test('a config of version 3 is taken as it is', async () => {
  const config = { ignition: { version: '3.3.0' }, passwd: users, storage: { files: [] } };
  const { stdout, stderr } = await readConfig(config);
  assert.deepEqual(JSON.parse(stdout), config);
  assert.equal(stderr, '');
});

test('of a config of version 2 that has only users the number is changed, and the console says so', async () => {
  const rest = { networkd: {}, passwd: users, storage: {}, systemd: {} };
  const { stdout, stderr } = await readConfig({ ignition: { config: {}, version: '2.1.0' }, ...rest });
  assert.deepEqual(JSON.parse(stdout), { ignition: { config: {}, version: '3.3.0' }, ...rest });
  assert.match(stderr, /is of version 2, .* its users are read as version 3\.3\.0/);
});

test('a config of version 2 that has more is refused', async () => {
  for (const section of ['networkd', 'storage', 'systemd']) {
    const { stdout, stderr, exitCode } = await readConfig({ [section]: { units: [] }, ignition: { version: '2.1.0' } });
    assert.deepEqual([exitCode, stdout], [1, ''], section);
    assert.match(stderr, /only Flatcar's own Ignition translates that/);
  }
});
