import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { z } from 'zod';
import { startTinkServer } from '../../tink-server/server.ts';
import { makePrograms } from '../seed.ts';
import { commandsPath, typeCommands } from './type-commands.ts';

/**
 * SHA-256 over the lines of the post without their indentation, from `ssh-keygen` to
 * `tink workflow create`, without prose and NAT rules.
 */
const linesOfThePost = '4674fbe694a4a5c268cfd4dcd0bc2169a2e333f4b7537bcf36f3cdd443b8b3c9';

test('the commands are those of the post, word for word', async () => {
  const lines = (await readFile(commandsPath, 'utf8')).split('\n').map((line) => line.trim());
  assert.equal(lines.pop(), '');
  assert.equal(createHash('sha256').update(lines.join('\n')).digest('hex'), linesOfThePost);
});

test('typed into a shell, they make a workflow for the machine of the post', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-seed-'));
  try {
    await using tink = await startTinkServer({ dialect: 'v0.1' });
    const home = join(directory, 'vagrant');
    const id = await typeCommands({ directory, home, programs: await makePrograms(directory, tink) });
    assert.deepEqual(tink.workflowIds(), [id]);
    const hardware = z.object({ id: z.string() }).parse(JSON.parse(await read('hardware-data.json')));
    assert.equal(hardware.id, 'ce2e62ed-826f-4485-a39f-a82bb74338e2');

    const key = (await read('vagrant/.ssh/id_rsa.pub')).trim();
    const [, encoded = ''] = /echo '(\S+)' \| base64 -d/.exec(await read('flatcar-template.yaml.tmpl')) ?? [];
    const config: unknown = JSON.parse(Buffer.from(encoded, 'base64').toString());
    assert.deepEqual(config, {
      ignition: { config: {}, timeouts: {}, version: '2.1.0' },
      networkd: {},
      passwd: { users: [{ name: 'core', sshAuthorizedKeys: [key] }] },
      storage: {},
      systemd: {},
    });
  } finally {
    await rm(directory, { recursive: true });
  }

  function read(name: string): Promise<string> {
    return readFile(join(directory, name), 'utf8');
  }
});
