import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { type ContainerNetwork, networkFiles } from '../../../../../agent/runtime/containerd/network/network-files.ts';

const noDns = { nameservers: [], domain: '', search: [], options: [] };
const network: ContainerNetwork = {
  ...{ hostname: 'c0ffee', addresses: ['172.17.0.5'], dns: noDns, onHostNetwork: false },
};
const stub = 'nameserver 127.0.0.53\noptions edns0\n';

interface MachineContent {
  readonly resolvConf?: string;
  readonly upstreamResolvConf?: string;
  readonly hosts?: string;
}

/**
 * What the files of a container contain on a machine with such files of its own; those that are not
 * given are not there.
 */
async function written(container: Partial<ContainerNetwork>, machine: MachineContent) {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-network-files-'));
  try {
    for (const [name, content] of Object.entries(machine)) await writeFile(join(directory, name), content);
    const at = (name: keyof MachineContent) => join(directory, name);
    const own = { resolvConf: at('resolvConf'), upstreamResolvConf: at('upstreamResolvConf'), hosts: at('hosts') };
    const files = await networkFiles(join(directory, 'a', 'b'), { ...network, ...container }, own);
    assert.equal((await stat(files.resolvConf)).mode & 0o044, 0o044);
    return {
      resolvConf: await readFile(files.resolvConf, 'utf8'),
      hosts: await readFile(files.hosts, 'utf8'),
      hostname: await readFile(files.hostname, 'utf8'),
    };
  } finally {
    await rm(directory, { recursive: true });
  }
}

test('resolv.conf has the name servers of the network', async () => {
  const dns = {
    nameservers: ['10.0.0.1', 'fd00::1'],
    domain: 'lab',
    search: ['lab', 'example.org'],
    options: ['ndots:2'],
  };
  const { resolvConf } = await written({ dns }, { resolvConf: 'nameserver 192.0.2.1\n' });
  assert.equal(
    resolvConf,
    'nameserver 10.0.0.1\nnameserver fd00::1\ndomain lab\nsearch lab example.org\noptions ndots:2\n',
  );
});

test("without those it has the machine's name servers, except loopback addresses", async () => {
  const own = '# lab\nnameserver 127.0.0.1\nnameserver\t192.0.2.1\nnameserver ::1\nsearch lab\n';
  const { resolvConf } = await written({}, { resolvConf: own });
  assert.equal(resolvConf, '# lab\nnameserver\t192.0.2.1\nsearch lab\n');
});

test('with none of these it has public name servers, and keeps the search list', async () => {
  const public_ = 'nameserver 8.8.8.8\nnameserver 8.8.4.4\n';
  const only127 = await written({}, { resolvConf: 'search lab\nnameserver 127.0.0.1\n' });
  assert.equal(only127.resolvConf, `search lab\n${public_}`);
  assert.equal((await written({}, {})).resolvConf, public_);
});

test('with systemd-resolved it has the upstream name servers', async () => {
  const upstreamResolvConf = 'nameserver 192.0.2.7\n';
  for (const onHostNetwork of [true, false]) {
    const { resolvConf } = await written({ onHostNetwork }, { resolvConf: stub, upstreamResolvConf });
    assert.equal(resolvConf, upstreamResolvConf);
  }
  const other = 'nameserver 192.0.2.1\nnameserver 127.0.0.53\n';
  assert.equal((await written({ onHostNetwork: true }, { resolvConf: other, upstreamResolvConf })).resolvConf, other);
});

test("on the machine's network the container has the machine's files", async () => {
  const machine = { resolvConf: 'nameserver 127.0.0.1\n', hosts: '192.0.2.9 provisioner\n' };
  assert.deepEqual(await written({ addresses: [], onHostNetwork: true }, machine), {
    ...machine,
    hosts: `${machine.hosts}127.0.1.1\tc0ffee\n`,
    hostname: 'c0ffee\n',
  });
  assert.equal((await written({ onHostNetwork: true }, { resolvConf: stub })).resolvConf, stub);
});

test("hosts has the container's name and localhost", async () => {
  const { hosts, hostname } = await written(
    { addresses: ['172.17.0.5', 'fd00::5'] },
    { hosts: '192.0.2.9 provisioner\n' },
  );
  assert.equal(hostname, 'c0ffee\n');
  const lines = hosts.trim().split('\n');
  assert.equal(lines[0], '127.0.0.1\tlocalhost');
  assert.match(lines[1] ?? '', /^::1\tlocalhost /);
  assert.deepEqual(lines.slice(-2), ['172.17.0.5\tc0ffee', 'fd00::5\tc0ffee']);
  assert.doesNotMatch(hosts, /provisioner/);
});
