import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { execa } from 'execa';
import { createNetworkNamespace, removeNetworkNamespace } from '../../../../../agent/runtime/containerd/network/cni.ts';
import { bridge, list, makeNetworkFixture, type NetworkFixture, never, passOn } from './network-fixture.ts';

/** Runs a program in a network namespace. */
async function runIn(namespace: string, program: string, ...parameters: readonly string[]): Promise<string> {
  return (await execa('nsenter', [`--net=${namespace}`, program, ...parameters])).stdout;
}

async function ping(namespace: string, address: string): Promise<void> {
  await runIn(namespace, 'busybox', 'ping', '-c', '1', '-W', '5', address);
}

const outsideAddress = '192.0.2.1';

/** Connects the machine to a host that knows nothing of the containers' addresses. */
async function addOutside(fixture: NetworkFixture): Promise<void> {
  const outside = await fixture.namespace('outside');
  await fixture.inside('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside);
  await fixture.inside('ip', 'address', 'add', '192.0.2.2/24', 'dev', 'up0');
  await fixture.inside('ip', 'link', 'set', 'up0', 'up');
  await runIn(outside, 'ip', 'address', 'add', `${outsideAddress}/24`, 'dev', 'eth0');
  await runIn(outside, 'ip', 'link', 'set', 'eth0', 'up');
}

/**
 * Lets this process find programs only there, until the test or the returned function ends that.
 */
function searchProgramsIn(directory: string, context: TestContext): () => void {
  const before = process.env['PATH'];
  const restore = () => {
    process.env['PATH'] = before;
  };
  context.after(restore);
  process.env['PATH'] = directory;
  return restore;
}

test('without a configuration, containers are behind a bridge: they reach each other, and the rest by translation', async () => {
  await using fixture = await makeNetworkFixture([...bridge, 'portmap', 'firewall']);
  const network = await fixture.network();
  assert.deepEqual(fixture.warnings, []);
  const [one, other] = [await fixture.namespace('one'), await fixture.namespace('other')];
  const first = await network.attach('one', one, never);
  const second = await network.attach('other', other, never);
  assert.deepEqual(first, {
    addresses: ['172.17.0.2'],
    dns: { nameservers: [], domain: '', search: [], options: [] },
  });
  assert.deepEqual(second.addresses, ['172.17.0.3']);
  await ping(one, '172.17.0.3');
  await ping(other, '172.17.0.2');
  await ping(one, '127.0.0.1');
  assert.match(await runIn(one, 'ip', 'route'), /^default via 172\.17\.0\.1 dev eth0/);
  await addOutside(fixture);
  await ping(one, outsideAddress);
  const rules = async () => await fixture.inside('iptables', '--table', 'nat', '--list-rules');
  assert.match(await rules(), /-s 172\.17\.0\.2\/32 .*one/);
  assert.deepEqual((await fixture.calls()).slice(0, 5), [
    ...['ADD loopback', 'ADD bridge', 'ADD host-local', 'ADD portmap', 'ADD firewall'],
  ]);

  await network.detach('one', one, never);
  assert.doesNotMatch(await rules(), /172\.17\.0\.2/);
  await ping(other, '172.17.0.1');
  assert.deepEqual((await fixture.left()).toSorted().slice(0, 2), ['172.17.0.3', 'other.json']);
  await network.detach('other', other, never);
  assert.deepEqual(await fixture.left(), []);
  assert.deepEqual((await fixture.calls()).slice(-5), [
    ...['DEL firewall', 'DEL portmap', 'DEL bridge', 'DEL host-local', 'DEL loopback'],
  ]);
});

test('plug-ins of a configured network are called one after the other, each with the result of the one before', async () => {
  await using fixture = await makeNetworkFixture([...bridge, 'tuning']);
  await fixture.configure('10-lab.conflist', list(fixture));
  const network = await fixture.network();
  const [one, other] = [await fixture.namespace('one'), await fixture.namespace('other')];
  const [first, second] = await Promise.all([network.attach('one', one, never), network.attach('other', other, never)]);
  assert.deepEqual([...first.addresses, ...second.addresses].toSorted(), ['10.88.0.2', '10.88.0.3']);
  assert.deepEqual(first.dns, { nameservers: ['10.88.0.1'], domain: 'lab', search: ['lab'], options: ['ndots:2'] });
  await ping(one, second.addresses[0] ?? '');
  assert.equal(await runIn(one, 'cat', '/proc/sys/net/ipv4/conf/eth0/proxy_arp'), '1');

  await network.detach('one', one, never);
  assert.doesNotMatch(await runIn(one, 'ip', 'link'), /eth0/);
  await ping(other, '10.88.0.1');
  await network.detach('other', other, never);
  assert.deepEqual(await fixture.left(), []);
});

test('detach() can be repeated, works without the namespace, and frees the address', async () => {
  await using fixture = await makeNetworkFixture([...bridge, 'portmap', 'firewall']);
  const network = await fixture.network();
  const namespace = await fixture.namespace('one');
  await network.detach('one', namespace, never);
  await network.attach('one', namespace, never);
  await network.detach('one', namespace, never);
  await network.detach('one', namespace, never);
  await network.attach('one', namespace, never);
  await removeNetworkNamespace(namespace);
  await network.detach('one', namespace, never);
  assert.deepEqual(await fixture.left(), []);
  await writeFile(namespace, 'no namespace');
  await network.detach('one', namespace, never);
});

test('another process detaches with the configuration and the result of the one that attached', async () => {
  await using fixture = await makeNetworkFixture(bridge);
  await fixture.install('scribe', `tee ${fixture.at('input')} | ${passOn}`);
  await fixture.configure('10-lab.conflist', {
    ...list(fixture),
    plugins: [list(fixture).plugins[0], { type: 'scribe' }],
  });
  const namespace = await fixture.namespace('one');
  await (await fixture.network()).attach('one', namespace, never);
  await fixture.install('other', 'exit 1');
  await fixture.configure('00-new.conf', { cniVersion: '0.4.0', name: 'new', type: 'other' });
  await rm(fixture.at('input'));
  await (await fixture.network()).detach('one', namespace, never);
  assert.deepEqual(await fixture.left(), []);
  assert.match(await readFile(fixture.at('input'), 'utf8'), /"name":"lab","prevResult":.*10\.88\.0\.2/);
});

test('another process removes what a process left that was killed while it attached', async () => {
  await using fixture = await makeNetworkFixture(bridge);
  // Ends the agent, which waits for it.
  await fixture.install('deadly', 'kill -9 $PPID; echo "{}"');
  await fixture.configure('10-lab.conflist', {
    ...list(fixture),
    plugins: [list(fixture).plugins[0], { type: 'deadly' }],
  });
  const namespace = await fixture.namespace('one');
  const module = new URL('../../../../../agent/runtime/containerd/network/cni.ts', import.meta.url);
  const options = {
    confDirectory: fixture.at('conf'),
    binDirectories: [fixture.at('bin')],
    stateDirectory: fixture.at('state'),
  };
  const program = `
    const { loadNetwork } = await import(${JSON.stringify(module.href)});
    const { signal } = new AbortController();
    const network = await loadNetwork(${JSON.stringify(options)}, signal);
    await network.attach('one', ${JSON.stringify(namespace)}, signal);`;
  await assert.rejects(execa(process.execPath, ['--input-type=module', '--eval', program]), { signal: 'SIGKILL' });
  assert.ok((await fixture.left()).includes('10.88.0.2'));
  await fixture.install('deadly', 'exit 0');
  await fixture.configure('10-lab.conflist', { cniVersion: '0.4.0', name: 'new', plugins: [{ type: 'deadly' }] });
  await (await fixture.network()).detach('one', namespace, never);
  assert.deepEqual(await fixture.left(), []);
});

test('the error of attach() names the plug-in that failed, with its reason; nothing is left', async () => {
  await using fixture = await makeNetworkFixture(bridge);
  const failure = JSON.stringify({ cniVersion: '1.0.0', code: 100, msg: 'no more tea', details: 'the pot is empty' });
  await fixture.install('teapot', `[ $CNI_COMMAND = DEL ] || { echo '${failure}'; exit 1; }`);
  await fixture.configure('10-lab.conflist', {
    ...list(fixture),
    plugins: [list(fixture).plugins[0], { type: 'teapot' }],
  });
  const network = await fixture.network();
  const namespace = await fixture.namespace('one');
  await assert.rejects(network.attach('one', namespace, never), {
    name: 'NetworkError',
    message: 'cannot attach container one to the network lab: plug-in teapot (ADD): no more tea: the pot is empty',
  });
  assert.deepEqual(await fixture.left(), []);
  assert.deepEqual(await fixture.calls(), [
    ...['ADD loopback', 'ADD bridge', 'ADD host-local', 'ADD teapot'],
    ...['DEL teapot', 'DEL bridge', 'DEL host-local', 'DEL loopback'],
  ]);
  assert.deepEqual(fixture.warnings, []);
  assert.doesNotMatch(await runIn(namespace, 'ip', 'link'), /eth0/);
});

test('the error of a plug-in that does not print JSON has its output', async () => {
  await using fixture = await makeNetworkFixture(bridge);
  await fixture.configure('lab.conf', { cniVersion: '1.0.0', name: 'lab', type: 'mute' });
  await fixture.install('mute', 'echo out of order >&2; exit 3');
  const attached = async () => await (await fixture.network()).attach('one', await fixture.namespace('one'), never);
  await assert.rejects(attached(), { message: /^cannot attach .*: plug-in mute \(ADD\): out of order$/ });
  // It fails to detach as well, which is not what is thrown.
  assert.deepEqual(fixture.warnings, [
    'cannot detach container one from the network lab: plug-in mute (DEL): out of order',
  ]);
  await fixture.install('mute', '[ $CNI_COMMAND = DEL ] || echo hello');
  await assert.rejects((await fixture.network()).attach('one', fixture.at('namespaces', 'one'), never), {
    message: /: plug-in mute \(ADD\) printed "hello" instead of a result$/,
  });
});

test('detach() calls all plug-ins even if one fails, and can be repeated', async () => {
  await using fixture = await makeNetworkFixture(bridge);
  await fixture.install('sticky', `[ $CNI_COMMAND = ADD ] && ${passOn} || { echo stuck >&2; exit 1; }`);
  await fixture.configure('10-lab.conflist', {
    ...list(fixture),
    plugins: [list(fixture).plugins[0], { type: 'sticky' }],
  });
  const network = await fixture.network();
  const namespace = await fixture.namespace('one');
  assert.deepEqual((await network.attach('one', namespace, never)).addresses, ['10.88.0.2']);
  await assert.rejects(network.detach('one', namespace, never), {
    ...{
      name: 'NetworkError',
      message: 'cannot detach container one from the network lab: plug-in sticky (DEL): stuck',
    },
  });
  assert.deepEqual(await fixture.left(), ['one.json']);
  await fixture.install('sticky', 'exit 0');
  await network.detach('one', namespace, never);
  assert.deepEqual(await fixture.left(), []);
});

test('the first configuration counts, and a single plug-in is a list of one', async () => {
  await using fixture = await makeNetworkFixture(['loopback']);
  await fixture.install(
    'witness',
    `cat >${fixture.at('input')}; echo '{"ips":[{"version":"4","address":"192.0.2.7/24"}]}'`,
  );
  await fixture.configure('10-second.conflist', '{}');
  await fixture.configure('05-first.conf', {
    cniVersion: '0.4.0',
    name: 'first',
    type: 'witness',
    mine: [1],
    capabilities: { mac: true },
  });
  await fixture.configure('00-none.txt', 'not for us');
  const { addresses } = await (await fixture.network()).attach('one', await fixture.namespace('one'), never);
  assert.deepEqual(addresses, ['192.0.2.7']);
  const input: unknown = JSON.parse(await readFile(fixture.at('input'), 'utf8'));
  assert.deepEqual(input, { cniVersion: '0.4.0', name: 'first', type: 'witness', mine: [1] });
});

test('a configuration that cannot be used is refused with its path and the reason', async () => {
  await using fixture = await makeNetworkFixture(['loopback', 'bridge']);
  const refused = async (content: object | string, reason: RegExp) => {
    await fixture.configure('10.conflist', content);
    await assert.rejects(fixture.load(), (error: Error) => {
      assert.ok(
        error.message.startsWith(`cannot use the network configuration ${fixture.at('conf', '10.conflist')}: `),
      );
      assert.match(error.message, reason);
      return error.name === 'NetworkError';
    });
  };
  await refused('{', /JSON/);
  await refused({ ...list(fixture), cniVersion: '0.2.0' }, /: cniVersion: Invalid option/);
  await refused({ ...list(fixture), name: 'a/b' }, /: name: is not a name$/);
  await refused({ ...list(fixture), plugins: [] }, /: plugins: Too small/);
  await refused(
    { ...list(fixture), plugins: [{ type: '../bridge' }] },
    /: plugins.0.type: is not the name of a plug-in$/,
  );
  await refused(list(fixture), /plug-in host-local not found in .*nothing or .*bin$/);
});

test('without a configuration and without the plug-ins there is no network', async () => {
  for (const missing of bridge) {
    await using fixture = await makeNetworkFixture(bridge.filter((type) => type !== missing));
    assert.equal(await fixture.load(), undefined, missing);
  }
});

test('without address translation the built-in network works on this machine, with a warning', async (context) => {
  await using fixture = await makeNetworkFixture([...bridge, 'portmap', 'firewall']);
  const programs = fixture.at('programs');
  await mkdir(programs);
  const restore = searchProgramsIn(programs, context);
  await writeFile(join(programs, 'iptables'), '#!/bin/sh\nexit 4\n', { mode: 0o755 });
  const network = await fixture.network();
  await writeFile(join(programs, 'iptables'), '#!/bin/sh\necho "no nat here" >&2; exit 3\n');
  await fixture.load();
  assert.match(
    fixture.warnings[0] ?? '',
    /^the default network of actions reaches only this machine: .*\(it ended with exit code 4\)$/,
  );
  assert.match(fixture.warnings[1] ?? '', /\(no nat here\)$/);
  restore();

  const [one, other] = [await fixture.namespace('one'), await fixture.namespace('other')];
  await network.attach('one', one, never);
  await network.attach('other', other, never);
  await ping(one, '172.17.0.3');
  assert.doesNotMatch(await fixture.inside('iptables', '--table', 'nat', '--list-rules'), /172\.17/);
  assert.ok(!(await fixture.calls()).some((call) => /portmap|firewall/.test(call)));
});

test("an id that is not a container's is refused", async () => {
  await using fixture = await makeNetworkFixture(bridge);
  const network = await fixture.network();
  for (const id of ['', '../one', '.one', 'a/b'])
    await assert.rejects(
      network.attach(id, await fixture.namespace(`n${id.length}`), never),
      { name: 'NetworkError' },
      id,
    );
});

test('a network namespace exists without a process; removing it twice is no error', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-cni-'));
  const path = join(directory, 'a', 'b');
  try {
    await createNetworkNamespace(path, never);
    assert.notEqual((await stat(path)).ino, (await stat('/proc/self/ns/net')).ino);
    assert.match(await runIn(path, 'ip', '-brief', 'link'), /^lo +DOWN/);
    await assert.rejects(createNetworkNamespace(path, never), {
      ...{ name: 'NetworkError', message: /^cannot make the network namespace .*: EEXIST/ },
    });
    await removeNetworkNamespace(path);
    await assert.rejects(stat(path), { code: 'ENOENT' });
    await removeNetworkNamespace(path);
    await createNetworkNamespace(path, never);
  } finally {
    await removeNetworkNamespace(path);
    await rm(directory, { recursive: true });
  }
});
