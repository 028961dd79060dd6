import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { addLoopbackAddress } from '../../sandbox/added-address.ts';
import { makeImage } from '../../sandbox/image.ts';
import { startRegistry } from '../../sandbox/registry.ts';
import { engineKinds, type RuntimeFixture, shell, startFixtureOf } from './runtime-fixture.ts';

const never = new AbortController().signal;

for (const kind of engineKinds)
  describe(kind, () => {
    let fixture: RuntimeFixture;
    before(async () => {
      fixture = await startFixtureOf(kind);
    });
    after(() => fixture[Symbol.asyncDispose]());
    beforeEach(() => {
      fixture.events.length = 0;
    });

    const pulls = () => fixture.events.filter((event) => event.kind === 'pulling').length;
    /** Those about pulls. */
    const warnings = () =>
      fixture.events.flatMap((event) =>
        event.kind === 'warning' && /pull/.test(event.message) ? [event.message] : [],
      );

    /**
     * Tries an image that cannot be had; how long it may take is not measured, but how often it was
     * tried.
     */
    async function failure(image: string): Promise<string> {
      const outcome = await fixture.createRuntime({ pullAttempts: 100 }).run(shell('true', { image }), never);
      assert.equal(outcome.verdict, 'FAILED');
      return outcome.message;
    }

    test('an image that only the engine has runs at once, and its registry is not asked again for a while', async () => {
      await fixture.runtime.run(shell('true'), never);
      await fixture.control.tag(`${fixture.registry.host}/busybox:1`, '127.0.0.1/embedded/tools', 'v1');
      fixture.events.length = 0;
      const runtime = fixture.createRuntime({ pullAttempts: 100 });
      for (const id of ['1', '2']) {
        const action = shell('echo fine', { id, image: '127.0.0.1/embedded/tools:v1', registryPrefix: 'never' });
        const outcome = await runtime.run(action, never);
        await runtime.release(action);
        assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
      }
      assert.equal(pulls(), 1);
      assert.equal(warnings().length, 1);
      assert.match(warnings()[0] ?? '', /127\.0\.0\.1\/embedded\/tools:v1: .*; using the local copy$/);
    });

    test('an image that its registry does not have any more runs at once', async () => {
      const { host } = fixture.registry;
      await fixture.runtime.run(shell('true'), never);
      await fixture.control.tag(`${host}/busybox:1`, `${host}/busybox`, 'gone');
      fixture.events.length = 0;
      const outcome = await fixture
        .createRuntime({ pullAttempts: 100 })
        .run(shell('true', { image: 'busybox:gone' }), never);
      assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
      assert.deepEqual([pulls(), warnings().length], [1, 1]);
    });

    test('an image that cannot be unpacked fails at once', async () => {
      await fixture.registry.push('noise:1', makeImage([Buffer.alloc(4096, 'no archive')], {}));
      const message = await failure('noise:1');
      assert.match(message, /cannot pull .*noise:1: .*(?:tar|layer)/);
      assert.deepEqual([pulls(), warnings()], [1, []]);
    });

    test('the hint for an untrusted certificate is that of the engine', async () => {
      await using loopback = await addLoopbackAddress();
      await using own = await startRegistry({ address: loopback.address });
      const runtime = fixture.createRuntime({ registry: own.host, credentials: [own], pullAttempts: 1 });
      const untrusted = (await runtime.run(shell('true'), never)).message;
      assert.match(untrusted, /x509/);
      assert.ok(untrusted.includes(`/certs.d/${own.host}/ca.crt`), untrusted);
      assert.equal(/docker/.test(untrusted), kind === 'docker', untrusted);
    });
  });

test('containerd: a broken hosts.toml fails at once', async () => {
  await using fixture = await startFixtureOf('containerd');
  assert.ok(fixture.control.location.kind === 'containerd');
  const directory = join(fixture.control.location.registryConfigPath, fixture.registry.host);
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'hosts.toml'), 'server = [\n');
  const outcome = await fixture.createRuntime({ pullAttempts: 100 }).run(shell('true'), never);
  assert.match(outcome.message, /cannot pull .*busybox:1: .*hosts\.toml, line \d/);
  assert.doesNotMatch(outcome.message, /docker/);
  assert.equal(fixture.events.filter((event) => event.kind === 'pulling').length, 1);
  assert.deepEqual(
    fixture.events.filter((event) => event.kind === 'warning'),
    [],
  );
});
