import assert from 'node:assert/strict';
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, beforeEach, describe, test } from 'node:test';
import { execa } from 'execa';
import type { Action } from '../../../agent/action/action.ts';
import { containerName } from '../../../agent/runtime/container-identity.ts';
import { engineUnderTest } from '../../sandbox/engine-under-test.ts';
import { waitdaemonImage } from '../../sandbox/waitdaemon.ts';
import {
  actionOf,
  type DockerFixture,
  engineKinds,
  type RuntimeFixture,
  shell,
  startDockerFixture,
  startFixtureOf,
} from './runtime-fixture.ts';

const never = new AbortController().signal;

/** What a container finds out about its own name. */
const whoAmI = 'hostname; cat /etc/hostname; echo "$HOSTNAME"; grep -cw "$(hostname)" /etc/hosts';

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

    /** The name of the container that runs. */
    function containerOf(role = 'action'): string {
      const started = fixture.events.find((event) => event.kind === 'started' && event.role === role);
      return started?.kind === 'started' ? started.container : assert.fail(`no ${role} started`);
    }

    for (const networkMode of [undefined, 'host', 'none'])
      for (const pidMode of [undefined, 'host'])
        test(`the hostname is the container's name with network ${networkMode} and pid ${pidMode}`, async () => {
          const outcome = await fixture.runtime.run(shell(whoAmI, { networkMode, pidMode }), never);
          assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
          const name = containerOf();
          assert.deepEqual(fixture.output(), [name, name, name, '1']);
        });

    test('the engine finds the container by its hostname while it runs', async () => {
      const action = shell('hostname; until [ -e /workflow/go ]; do sleep 0.05; done', { networkMode: 'host' });
      const running = fixture.runtime.run(action, never);
      await fixture.untilEvent((event) => event.kind === 'output');
      const [hostname = ''] = fixture.output();
      assert.deepEqual(await fixture.control.containers(), [hostname]);
      assert.equal(await fixture.control.labelOf(hostname, 'nibs.workflow'), action.workflowId);
      await execa('touch', [join(fixture.workDirectory, action.workflowId, 'go')]);
      await running;
    });

    test('a name of any length and any characters makes a valid hostname that is different for each action', async () => {
      const names = ['-', '', '.a_b ', 'ä/ö:ü', 'x'.repeat(200), `${'y'.repeat(31)}--z`, 'Wipe the Disk'];
      const actions = names.map((name, index) => shell('hostname', { name, id: String(index) }));
      for (const action of actions) assert.equal((await fixture.runtime.run(action, never)).verdict, 'SUCCESS');
      const hostnames = fixture.output();
      for (const hostname of hostnames) assert.match(hostname, /^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,53}[a-zA-Z0-9])?$/);
      assert.equal(new Set(hostnames).size, names.length);
      assert.match(hostnames.at(-1) ?? '', /^action-Wipe-the-Disk-[0-9a-f]{12}$/);
    });

    test('so does a container with a suffix, and one of a command for failures', async () => {
      const action = shell(`${whoAmI}; exit 1`, { onFailure: ['sh', '-c', whoAmI] });
      await fixture.runtime.run(shell('true'), never);
      fixture.events.length = 0;
      await fixture.control.create(containerName(action, 'action'), `${fixture.registry.host}/busybox:1`);
      await fixture.runtime.run(action, never);
      await fixture.control.remove(containerName(action, 'action'));
      const [name, reaction] = [containerOf(), containerOf('on-failure')];
      assert.match(name, new RegExp(`^${containerName(action, 'action')}-[0-9a-f]{8}$`));
      assert.deepEqual(fixture.output(), [name, name, name, '1', reaction, reaction, reaction, '1']);
    });
  });

describe('docker alone', () => {
  let fixture: DockerFixture;
  before(async () => {
    fixture = await startDockerFixture();
    await fixture.registry.push('waitdaemon:1', await waitdaemonImage());
    // So that it is there: the program in the image has no credentials.
    await fixture.runtime.run(shell('true'), never);
  });
  after(() => fixture[Symbol.asyncDispose]());
  beforeEach(() => {
    fixture.events.length = 0;
  });

  // The Podman of the boot image has no networks of its own.
  if (engineUnderTest() === 'docker')
    test('the hostname is the container’s name on a network of the engine', async () => {
      const { docker } = fixture.engine;
      const network = await docker.createNetwork({ Name: 'site', Driver: 'bridge', Internal: true });
      await fixture.runtime.run(shell(whoAmI, { networkMode: 'site' }), never);
      await network.remove();
      const [hostname, ...others] = fixture.output();
      assert.match(hostname ?? '', /^action-say-something-/);
      assert.deepEqual(others, [hostname, hostname, '1']);
    });

  test('on the network of another container the hostname is that one’s, as the Docker API wants it', async () => {
    const { docker } = fixture.engine;
    const Image = `${fixture.registry.host}/busybox:1`;
    const HostConfig = { NetworkMode: 'none' };
    const other = await docker.createContainer({
      name: 'other',
      Hostname: 'other',
      Image,
      Cmd: ['sleep', '600'],
      HostConfig,
    });
    await other.start();
    const outcome = await fixture.runtime.run(shell('hostname', { networkMode: 'container:other' }), never);
    await other.remove({ force: true });
    assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
    assert.deepEqual(fixture.output(), ['other']);
  });

  /**
   * Everything in it is Tinkerbell's standard for rebooting, except that what runs in the end
   * writes a file.
   */
  function waitdaemon(rest: Partial<Action> = {}): Action {
    return actionOf(['sh', '-c', 'echo "$WORD" > /out/done'], {
      image: 'waitdaemon:1',
      pidMode: 'host',
      environment: [`IMAGE=${fixture.registry.host}/busybox:1`, 'WAIT_SECONDS=1', 'WORD=a "word"'],
      volumes: [`${fixture.engine.socketPath}:/var/run/docker.sock`, `${join(fixture.workDirectory, 'out')}:/out`],
      ...rest,
    });
  }

  for (const networkMode of [undefined, 'none'])
    test(`waitdaemon starts itself again and then its image, on the network ${networkMode}`, async () => {
      const out = join(fixture.workDirectory, 'out');
      await execa('rm', ['-rf', out]);
      await mkdir(out);
      const outcome = await fixture.runtime.run(waitdaemon({ networkMode }), never);
      assert.equal(outcome.verdict, 'SUCCESS', outcome.message);
      // It must survive what the agent does before the next action, and that action.
      const next = await fixture.runtime.run(shell('true'), never);
      assert.equal(next.verdict, 'SUCCESS', next.message);
      const [second, third] = await detached(2);
      assert.equal(second, `${fixture.registry.host}/waitdaemon:1`);
      assert.equal(third, `${fixture.registry.host}/busybox:1`);
      assert.equal(await readFile(join(out, 'done'), 'utf8'), 'a "word"\n');
    });

  /**
   * Waits for containers that the agent knows nothing of, one started by the other, to end, and
   * removes them.
   * @returns their images, in the order in which they were made
   */
  async function detached(count: number): Promise<string[]> {
    const { docker } = fixture.engine;
    const made: { readonly id: string; readonly image: string; readonly at: string }[] = [];
    while (made.length < count) {
      const found = (await docker.listContainers({ all: true })).find(({ Id }) => !made.some(({ id }) => id === Id));
      assert.ok(found !== undefined, `only ${made.map(({ image }) => image).join(', ')}`);
      const container = docker.getContainer(found.Id);
      const { StatusCode } = await container.wait();
      assert.equal(StatusCode, 0, await logOf(found.Id));
      // The list has the newest first, and on a slow machine the last one may be there before the
      // first look.
      made.push({ id: found.Id, image: found.Image, at: (await container.inspect()).Created });
    }
    for (const { id } of made) await docker.getContainer(id).remove();
    return made.toSorted((a, b) => (a.at < b.at ? -1 : 1)).map(({ image }) => image);
  }

  async function logOf(id: string): Promise<string> {
    return (await fixture.engine.docker.getContainer(id).logs({ stdout: true, stderr: true })).toString();
  }

  test("a container with copied labels of an action is not taken for an action's", async () => {
    const { docker } = fixture.engine;
    const action = shell('hostname; until [ -e /workflow/go ]; do sleep 0.05; done');
    const running = fixture.runtime.run(action, never);
    await fixture.untilEvent((event) => event.kind === 'output');
    const { Config } = await docker.getContainer(fixture.output()[0] ?? '').inspect();
    const copy = await docker.createContainer({
      ...Config,
      Cmd: ['sleep', '600'],
      HostConfig: { NetworkMode: 'none' },
    });
    await copy.start();
    await execa('touch', [join(fixture.workDirectory, action.workflowId, 'go')]);
    await running;
    await fixture.runtime.run(shell('true'), never);
    assert.equal((await copy.inspect()).State.Running, true);
    await copy.remove({ force: true });
  });
});
