import assert from 'node:assert/strict';
import { mkdir, mkdtemp, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { execa } from 'execa';
import {
  createNetworkNamespace,
  loadNetwork,
  type Network,
  removeNetworkNamespace,
} from '../../../../../agent/runtime/containerd/network/cni.ts';

/** Where Debian's package containernetworking-plugins puts them. */
const plugins = '/usr/lib/cni';

/**
 * A machine with plug-ins, none of whose interfaces and rules are on this one: each plug-in is started in another network namespace. Each call is noted in
 * the file `calls`.
 */
interface Site extends AsyncDisposable {
  at(...names: string[]): string;
  /** The warnings of the network so far. */
  readonly warnings: readonly string[];
  /** Puts a file among the network configurations. */
  configure(name: string, content: object | string): Promise<void>;
  /** Puts a program among the plug-ins. */
  install(type: string, script: string): Promise<void>;
  load(): Promise<Network | undefined>;
  /** As {@link load}, of a network that must be there. */
  network(): Promise<Network>;
  /** Makes a network namespace as for a container, and returns its path. */
  namespace(name: string): Promise<string>;
  /** Runs a program in the machine's network. */
  inside(program: string, ...parameters: readonly string[]): Promise<string>;
  /** Calls of plug-ins so far, as `ADD bridge`. */
  calls(): Promise<string[]>;
  /** What is left of a container on the machine: its addresses, what is kept for it, and interfaces. */
  left(): Promise<string[]>;
}

async function makeSite(available: readonly string[]): Promise<Site> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-cni-'));
  const at = (...names: string[]) => join(directory, ...names);
  const namespaces: string[] = [];
  const warnings: string[] = [];

  async function namespace(name: string): Promise<string> {
    const path = at('namespaces', name);
    await createNetworkNamespace(path);
    namespaces.push(path);
    return path;
  }

  const machine = await namespace('machine');
  const enter = ['nsenter', `--net=${machine}`];
  for (const name of ['bin', 'conf']) await mkdir(at(name));

  async function install(type: string, script: string): Promise<void> {
    const note = `echo "$CNI_COMMAND ${type}" >>${at('calls')}`;
    await writeFile(at('bin', type), `#!/bin/sh\n${note}\n${script}\n`, { mode: 0o755 });
  }

  async function inside(program: string, ...parameters: readonly string[]): Promise<string> {
    const [first = '', ...rest] = [...enter, program, ...parameters];
    return (await execa(first, rest)).stdout;
  }

  const load = async () =>
    await loadNetwork({
      ...{ confDirectory: at('conf'), binDirectories: [at('nothing'), at('bin')], stateDirectory: at('state') },
      warn: (message) => warnings.push(message),
    });

  async function left(): Promise<string[]> {
    const files = await readdir(at('state'), { recursive: true, withFileTypes: true }).catch(() => []);
    const names = files.filter((file) => file.isFile() && !/^(?:lock|last_reserved)/.test(file.name));
    const links = (await inside('ip', '-brief', 'link')).split('\n').filter((link) => link.startsWith('veth'));
    return [...names.map(({ name }) => name), ...links];
  }

  for (const type of available) await install(type, `exec ${enter.join(' ')} ${plugins}/${type}`);
  return {
    ...{ at, warnings, install, load, namespace, inside, left },
    configure: async (name, content) =>
      await writeFile(at('conf', name), typeof content === 'string' ? content : JSON.stringify(content)),
    async network() {
      const network = await load();
      assert.ok(network);
      return network;
    },
    calls: async () => (await readFile(at('calls'), 'utf8').catch(() => '')).trim().split('\n'),
    async [Symbol.asyncDispose]() {
      for (const path of namespaces) await removeNetworkNamespace(path);
      await rm(directory, { recursive: true });
    },
  };
}

const bridge = ['bridge', 'host-local', 'loopback'];

/** Runs a program in a network namespace. */
async function runIn(namespace: string, program: string, ...parameters: readonly string[]): Promise<string> {
  return (await execa('nsenter', [`--net=${namespace}`, program, ...parameters])).stdout;
}

async function ping(namespace: string, address: string): Promise<void> {
  await runIn(namespace, 'busybox', 'ping', '-c', '1', '-W', '5', address);
}

const outsideAddress = '192.0.2.1';

/** Connects the machine to a host that knows nothing of the containers' addresses. */
async function addOutside(site: Site): Promise<void> {
  const outside = await site.namespace('outside');
  await site.inside('ip', 'link', 'add', 'up0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', outside);
  await site.inside('ip', 'address', 'add', '192.0.2.2/24', 'dev', 'up0');
  await site.inside('ip', 'link', 'set', 'up0', 'up');
  await runIn(outside, 'ip', 'address', 'add', `${outsideAddress}/24`, 'dev', 'eth0');
  await runIn(outside, 'ip', 'link', 'set', 'eth0', 'up');
}

/** Lets this process find programs only there, until the test or the returned function ends that. */
function searchProgramsIn(directory: string, context: TestContext): () => void {
  const before = process.env['PATH'];
  const restore = () => {
    process.env['PATH'] = before;
  };
  context.after(restore);
  process.env['PATH'] = directory;
  return restore;
}

/** What a plug-in does that changes nothing: its result is the one of the plug-in before. */
const passOn = 'sed "s/.*prevResult.://; s/}$//"';

/** A configuration without address translation: two plug-ins, of which the second gets the result of the first. */
function list(site: Site) {
  const ipam = { type: 'host-local', dataDir: site.at('state', 'addresses'), ranges: [[{ subnet: '10.88.0.0/24' }]] };
  const dns = { nameservers: ['10.88.0.1'], domain: 'lab', search: ['lab'], options: ['ndots:2'] };
  return {
    ...{ cniVersion: '1.0.0', name: 'lab' },
    plugins: [
      { type: 'bridge', bridge: 'lab0', isGateway: true, ipam, dns },
      { type: 'tuning', capabilities: { mac: true }, sysctl: { 'net.ipv4.conf.eth0.proxy_arp': '1' } },
    ],
  };
}

test('without a configuration, containers are behind a bridge: they reach each other, and the rest by translation', async () => {
  await using site = await makeSite([...bridge, 'portmap', 'firewall']);
  const network = await site.network();
  assert.deepEqual(site.warnings, []);
  const [one, other] = [await site.namespace('one'), await site.namespace('other')];
  const first = await network.attach('one', one);
  const second = await network.attach('other', other);
  assert.deepEqual(first, {
    addresses: ['172.17.0.2'],
    dns: { nameservers: [], domain: '', search: [], options: [] },
  });
  assert.deepEqual(second.addresses, ['172.17.0.3']);
  await ping(one, '172.17.0.3');
  await ping(other, '172.17.0.2');
  await ping(one, '127.0.0.1');
  assert.match(await runIn(one, 'ip', 'route'), /^default via 172\.17\.0\.1 dev eth0/);
  await addOutside(site);
  await ping(one, outsideAddress);
  const rules = async () => await site.inside('iptables', '--table', 'nat', '--list-rules');
  assert.match(await rules(), /-s 172\.17\.0\.2\/32 .*one/);
  assert.deepEqual((await site.calls()).slice(0, 5), [
    ...['ADD loopback', 'ADD bridge', 'ADD host-local', 'ADD portmap', 'ADD firewall'],
  ]);

  await network.detach('one', one);
  assert.doesNotMatch(await rules(), /172\.17\.0\.2/);
  await ping(other, '172.17.0.1');
  assert.deepEqual((await site.left()).toSorted().slice(0, 2), ['172.17.0.3', 'other.json']);
  await network.detach('other', other);
  assert.deepEqual(await site.left(), []);
  assert.deepEqual((await site.calls()).slice(-5), [
    ...['DEL firewall', 'DEL portmap', 'DEL bridge', 'DEL host-local', 'DEL loopback'],
  ]);
});

test('plug-ins of a configured network are called one after the other, each with the result of the one before', async () => {
  await using site = await makeSite([...bridge, 'tuning']);
  await site.configure('10-lab.conflist', list(site));
  const network = await site.network();
  const [one, other] = [await site.namespace('one'), await site.namespace('other')];
  const [first, second] = await Promise.all([network.attach('one', one), network.attach('other', other)]);
  assert.deepEqual([...first.addresses, ...second.addresses].toSorted(), ['10.88.0.2', '10.88.0.3']);
  assert.deepEqual(first.dns, { nameservers: ['10.88.0.1'], domain: 'lab', search: ['lab'], options: ['ndots:2'] });
  await ping(one, second.addresses[0] ?? '');
  assert.equal(await runIn(one, 'cat', '/proc/sys/net/ipv4/conf/eth0/proxy_arp'), '1');

  await network.detach('one', one);
  assert.doesNotMatch(await runIn(one, 'ip', 'link'), /eth0/);
  await ping(other, '10.88.0.1');
  await network.detach('other', other);
  assert.deepEqual(await site.left(), []);
});

test('detach() is fine whatever is gone already, and frees the address', async () => {
  await using site = await makeSite([...bridge, 'portmap', 'firewall']);
  const network = await site.network();
  const namespace = await site.namespace('one');
  await network.detach('one', namespace);
  await network.attach('one', namespace);
  await network.detach('one', namespace);
  await network.detach('one', namespace);
  await network.attach('one', namespace);
  await removeNetworkNamespace(namespace);
  await network.detach('one', namespace);
  assert.deepEqual(await site.left(), []);
  await writeFile(namespace, 'no namespace');
  await network.detach('one', namespace);
});

test('another process detaches with the configuration and the result of the one that attached', async () => {
  await using site = await makeSite(bridge);
  await site.install('scribe', `tee ${site.at('input')} | ${passOn}`);
  await site.configure('10-lab.conflist', { ...list(site), plugins: [list(site).plugins[0], { type: 'scribe' }] });
  const namespace = await site.namespace('one');
  await (await site.network()).attach('one', namespace);
  await site.install('other', 'exit 1');
  await site.configure('00-new.conf', { cniVersion: '0.4.0', name: 'new', type: 'other' });
  await rm(site.at('input'));
  await (await site.network()).detach('one', namespace);
  assert.deepEqual(await site.left(), []);
  assert.match(await readFile(site.at('input'), 'utf8'), /"name":"lab","prevResult":.*10\.88\.0\.2/);
});

test('a process that died while it attached leaves nothing that another one could not take away', async () => {
  await using site = await makeSite(bridge);
  // Ends the agent, which waits for it.
  await site.install('deadly', 'kill -9 $PPID; echo "{}"');
  await site.configure('10-lab.conflist', { ...list(site), plugins: [list(site).plugins[0], { type: 'deadly' }] });
  const namespace = await site.namespace('one');
  const module = new URL('../../../../../agent/runtime/containerd/network/cni.ts', import.meta.url);
  const options = {
    confDirectory: site.at('conf'),
    binDirectories: [site.at('bin')],
    stateDirectory: site.at('state'),
  };
  const program = `
    const { loadNetwork } = await import(${JSON.stringify(module.href)});
    const network = await loadNetwork(${JSON.stringify(options)});
    await network.attach('one', ${JSON.stringify(namespace)});`;
  await assert.rejects(execa(process.execPath, ['--input-type=module', '--eval', program]), { signal: 'SIGKILL' });
  assert.ok((await site.left()).includes('10.88.0.2'));
  await site.install('deadly', 'exit 0');
  await site.configure('10-lab.conflist', { cniVersion: '0.4.0', name: 'new', plugins: [{ type: 'deadly' }] });
  await (await site.network()).detach('one', namespace);
  assert.deepEqual(await site.left(), []);
});

test('a plug-in that fails is named with its reason, and nothing of the container is left', async () => {
  await using site = await makeSite(bridge);
  const failure = JSON.stringify({ cniVersion: '1.0.0', code: 100, msg: 'no more tea', details: 'the pot is empty' });
  await site.install('teapot', `[ $CNI_COMMAND = DEL ] || { echo '${failure}'; exit 1; }`);
  await site.configure('10-lab.conflist', { ...list(site), plugins: [list(site).plugins[0], { type: 'teapot' }] });
  const network = await site.network();
  const namespace = await site.namespace('one');
  await assert.rejects(network.attach('one', namespace), {
    name: 'NetworkError',
    message: 'cannot attach container one to the network lab: plug-in teapot (ADD): no more tea: the pot is empty',
  });
  assert.deepEqual(await site.left(), []);
  assert.deepEqual(await site.calls(), [
    ...['ADD loopback', 'ADD bridge', 'ADD host-local', 'ADD teapot'],
    ...['DEL teapot', 'DEL bridge', 'DEL host-local', 'DEL loopback'],
  ]);
  assert.deepEqual(site.warnings, []);
  assert.doesNotMatch(await runIn(namespace, 'ip', 'link'), /eth0/);
});

test('a plug-in that does not speak JSON fails with what it says', async () => {
  await using site = await makeSite(bridge);
  await site.configure('lab.conf', { cniVersion: '1.0.0', name: 'lab', type: 'mute' });
  await site.install('mute', 'echo out of order >&2; exit 3');
  const attached = async () => await (await site.network()).attach('one', await site.namespace('one'));
  await assert.rejects(attached(), { message: /^cannot attach .*: plug-in mute \(ADD\): out of order$/ });
  // It fails to detach as well, which is not what is thrown.
  assert.deepEqual(site.warnings, [
    'cannot detach container one from the network lab: plug-in mute (DEL): out of order',
  ]);
  await site.install('mute', '[ $CNI_COMMAND = DEL ] || echo hello');
  await assert.rejects((await site.network()).attach('one', site.at('namespaces', 'one')), {
    message: /: plug-in mute \(ADD\) gave no result but "hello"$/,
  });
});

test('all plug-ins are asked to detach even if one of them fails, and may be asked again', async () => {
  await using site = await makeSite(bridge);
  await site.install('sticky', `[ $CNI_COMMAND = ADD ] && ${passOn} || { echo stuck >&2; exit 1; }`);
  await site.configure('10-lab.conflist', { ...list(site), plugins: [list(site).plugins[0], { type: 'sticky' }] });
  const network = await site.network();
  const namespace = await site.namespace('one');
  assert.deepEqual((await network.attach('one', namespace)).addresses, ['10.88.0.2']);
  await assert.rejects(network.detach('one', namespace), {
    ...{
      name: 'NetworkError',
      message: 'cannot detach container one from the network lab: plug-in sticky (DEL): stuck',
    },
  });
  assert.deepEqual(await site.left(), ['one.json']);
  await site.install('sticky', 'exit 0');
  await network.detach('one', namespace);
  assert.deepEqual(await site.left(), []);
});

test('the first configuration counts, and a single plug-in is a list of one', async () => {
  await using site = await makeSite(['loopback']);
  await site.install('witness', `cat >${site.at('input')}; echo '{"ips":[{"version":"4","address":"192.0.2.7/24"}]}'`);
  await site.configure('10-second.conflist', '{}');
  await site.configure('05-first.conf', {
    cniVersion: '0.4.0',
    name: 'first',
    type: 'witness',
    mine: [1],
    capabilities: { mac: true },
  });
  await site.configure('00-none.txt', 'not for us');
  const { addresses } = await (await site.network()).attach('one', await site.namespace('one'));
  assert.deepEqual(addresses, ['192.0.2.7']);
  const input: unknown = JSON.parse(await readFile(site.at('input'), 'utf8'));
  assert.deepEqual(input, { cniVersion: '0.4.0', name: 'first', type: 'witness', mine: [1] });
});

test('a configuration that cannot be used is refused with its path and the reason', async () => {
  await using site = await makeSite(['loopback', 'bridge']);
  const refused = async (content: object | string, reason: RegExp) => {
    await site.configure('10.conflist', content);
    await assert.rejects(site.load(), (error: Error) => {
      assert.ok(error.message.startsWith(`cannot use the network configuration ${site.at('conf', '10.conflist')}: `));
      assert.match(error.message, reason);
      return error.name === 'NetworkError';
    });
  };
  await refused('{', /JSON/);
  await refused({ ...list(site), cniVersion: '0.2.0' }, /: cniVersion: Invalid option/);
  await refused({ ...list(site), name: 'a/b' }, /: name: is not a name$/);
  await refused({ ...list(site), plugins: [] }, /: plugins: Too small/);
  await refused({ ...list(site), plugins: [{ type: '../bridge' }] }, /: plugins.0.type: is not the name of a plug-in$/);
  await refused(list(site), /there is no plug-in host-local in .*nothing or .*bin$/);
});

test('without a configuration and without the plug-ins there is no network', async () => {
  for (const missing of bridge) {
    await using site = await makeSite(bridge.filter((type) => type !== missing));
    assert.equal(await site.load(), undefined, missing);
  }
});

test('where addresses cannot be translated, the built-in network goes without, and says so', async (context) => {
  await using site = await makeSite([...bridge, 'portmap', 'firewall']);
  const programs = site.at('programs');
  await mkdir(programs);
  const restore = searchProgramsIn(programs, context);
  await writeFile(join(programs, 'iptables'), '#!/bin/sh\nexit 4\n', { mode: 0o755 });
  const network = await site.network();
  await writeFile(join(programs, 'iptables'), '#!/bin/sh\necho "no nat here" >&2; exit 3\n');
  await site.load();
  assert.match(
    site.warnings[0] ?? '',
    /^the network of actions ends at this machine: .*\(it ended with exit code 4\)$/,
  );
  assert.match(site.warnings[1] ?? '', /\(no nat here\)$/);
  restore();

  const [one, other] = [await site.namespace('one'), await site.namespace('other')];
  await network.attach('one', one);
  await network.attach('other', other);
  await ping(one, '172.17.0.3');
  assert.doesNotMatch(await site.inside('iptables', '--table', 'nat', '--list-rules'), /172\.17/);
  assert.ok(!(await site.calls()).some((call) => /portmap|firewall/.test(call)));
});

test("an id that is no container's cannot name a file", async () => {
  await using site = await makeSite(bridge);
  const network = await site.network();
  for (const id of ['', '../one', '.one', 'a/b'])
    await assert.rejects(network.attach(id, await site.namespace(`n${id.length}`)), { name: 'NetworkError' }, id);
});

test('a network namespace is there without a process until it is removed, which may be done twice', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-cni-'));
  const path = join(directory, 'a', 'b');
  try {
    await createNetworkNamespace(path);
    assert.notEqual((await stat(path)).ino, (await stat('/proc/self/ns/net')).ino);
    assert.match(await runIn(path, 'ip', '-brief', 'link'), /^lo +DOWN/);
    await assert.rejects(createNetworkNamespace(path), {
      ...{ name: 'NetworkError', message: /^cannot make the network namespace .*: EEXIST/ },
    });
    await removeNetworkNamespace(path);
    await assert.rejects(stat(path), { code: 'ENOENT' });
    await removeNetworkNamespace(path);
    await createNetworkNamespace(path);
  } finally {
    await removeNetworkNamespace(path);
    await rm(directory, { recursive: true });
  }
});
