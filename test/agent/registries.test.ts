import assert from 'node:assert/strict';
import { writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { request } from 'node:https';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { createProcessMachine } from '../sandbox/agent-under-test/process-machine.ts';
import { startSharedEngine } from '../sandbox/agent-under-test/shared-engine.ts';
import { busyboxImage } from '../sandbox/busybox-image.ts';
import { type Registry, startRegistry } from '../sandbox/registry.ts';

/** A plain HTTP proxy in front of a registry; records the credentials that it receives. */
async function startProxy(test: TestContext, { host, authority }: Registry) {
  const credentials = new Set<string>();
  const proxy = createServer((incoming, outgoing) => {
    if (incoming.headers.authorization !== undefined) credentials.add(incoming.headers.authorization);
    const target = { ca: authority.certificate, method: incoming.method, headers: incoming.headers };
    const onward = request(`https://${host}${incoming.url}`, target, (response) => {
      outgoing.writeHead(response.statusCode ?? 502, response.headers);
      response.pipe(outgoing);
    });
    onward.on('error', (error) => outgoing.destroy(error));
    incoming.pipe(onward);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  test.after(() => {
    proxy.close();
    proxy.closeAllConnections();
  });
  return { host: `127.0.0.1:${(proxy.address() as AddressInfo).port}`, credentials };
}

test('each registry gets its own credentials from the configuration file, and no other ones', async (test) => {
  await using shared = await startSharedEngine();
  await using first = await startRegistry({ username: 'one', password: 'canary-of-one' });
  await using second = await startRegistry({ username: 'two', password: 'canary-of-two' });
  const image = await busyboxImage();
  for (const registry of [first, second]) await registry.push('tools/busybox', image);
  const proxies = [await startProxy(test, first), await startProxy(test, second)] as const;
  const machine = await createProcessMachine(test, shared);
  const config = join(machine.directory, 'config.yaml');
  const registries = Object.fromEntries(
    [first, second].map(({ username, password }, index) => [proxies[index]?.host, { username, password }]),
  );
  await writeFile(config, JSON.stringify({ registries }));
  const workflow = machine.createWorkflow([
    { name: 'shared', script: 'true' },
    ...proxies.map(({ host }, index) => ({ name: `proxy-${index}`, image: `${host}/tools/busybox`, script: 'true' })),
  ]);

  const agent = machine.start(['--config', config, '--registry-prefix=unqualified']);
  await machine.reported(workflow, 'ACTION_SUCCESS', 'proxy-1');
  const basic = ({ username, password }: Registry) =>
    `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`;
  assert.deepEqual(
    proxies.map(({ credentials }) => [...credentials]),
    [[basic(first)], [basic(second)]],
  );
  assert.doesNotMatch(agent.output.join('\n'), /canary-of/);
});
