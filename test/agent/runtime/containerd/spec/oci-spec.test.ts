import assert from 'node:assert/strict';
import { lstat, mkdir, mkdtemp, readdir, readFile, rm, stat, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import type { BindMount } from '../../../../../agent/runtime/container-spec.ts';
import { resolveUser } from '../../../../../agent/runtime/containerd/spec/container-user.ts';
import { makeSpec, type SpecInput } from '../../../../../agent/runtime/containerd/spec/oci-spec.ts';
import { withMounted } from '../../../../../agent/runtime/containerd/spec/snapshot-mount.ts';
import type { SpecError } from '../../../../../agent/runtime/containerd/spec/spec-error.ts';
import { startContainerd } from '../../../../sandbox/containerd.ts';
import { assertLoopIsFree } from '../../../../sandbox/event-loop.ts';
import { unmountBelow } from '../../../../sandbox/scratch-mount.ts';

const id = `abcdef0123456789${process.pid}`;
let directory: string;
const at = (...names: string[]) => join(directory, ...names);

/**
 * The bundle of all containers here: a root file system with Debian's static busybox, and the files
 * for /etc.
 */
before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-spec-'));
  await execa('install', ['-D', '-t', at('rootfs', 'bin'), '/bin/busybox']);
  await execa(at('rootfs', 'bin', 'busybox'), ['--install', '-s', at('rootfs', 'bin')]);
  for (const name of await readdir(at('rootfs', 'bin'))) {
    if (name === 'busybox') continue;
    await rm(at('rootfs', 'bin', name));
    await symlink('busybox', at('rootfs', 'bin', name));
  }
  for (const name of ['resolvConf', 'hosts', 'hostname']) await writeFile(at(name), `${name} of the agent\n`);
});

after(async () => {
  await unmountBelow(directory);
  await rm(directory, { recursive: true, force: true });
});

/** Parts of a container, and of what else its specification depends on. */
interface Wanted extends Partial<Omit<SpecInput, 'spec'>> {
  readonly command?: readonly string[];
  readonly env?: readonly string[];
  readonly volumes?: readonly string[];
  readonly mounts?: readonly BindMount[];
  readonly pidMode?: string;
}

async function specOf({ command = [], env = [], volumes = [], mounts = [], pidMode, ...others }: Wanted) {
  return await makeSpec({
    ...{
      id,
      image: {},
      user: { uid: 0, gid: 0, additionalGids: [] },
      networkNamespace: undefined,
      hostname: 'action-x',
    },
    files: { resolvConf: at('resolvConf'), hosts: at('hosts'), hostname: at('hostname') },
    ...{ volumesDirectory: at('volumes'), namespace: `nibs-spec-${process.pid}` },
    spec: {
      ...{ name: 'action-x', image: 'any', entrypoint: undefined, labels: {}, network: 'host' },
      ...{ command, environment: env, volumes, mounts, pidMode, privileges: 'privileged' },
    },
    ...others,
  });
}

/** Runs a container with runc, to its end. */
async function run(wanted: Wanted) {
  await writeFile(at('config.json'), JSON.stringify(await specOf(wanted)));
  return await execa('runc', ['--root', at('state'), 'run', '--bundle', directory, id], {
    ...{ reject: false, stdin: 'ignore', all: true },
  });
}

/** What a shell in a container prints. */
async function shell(script: string, wanted: Wanted = {}): Promise<string> {
  const { all, failed } = await run({ command: ['sh', '-e', '-c', script], ...wanted });
  assert.ok(!failed, all);
  return all;
}

async function assertRefused(wanted: Wanted, message: string): Promise<void> {
  await assert.rejects(specOf(wanted), { name: 'SpecError', message });
}

test('the arguments are ENTRYPOINT and the command of the action, else CMD', async () => {
  const image = { Entrypoint: ['echo', 'a'], Cmd: ['b'] };
  assert.equal((await run({ image })).stdout, 'a b');
  assert.equal((await run({ image, command: ['c d', 'e'] })).stdout, 'a c d e');
  assert.equal((await run({ image: { Entrypoint: null, Cmd: ['echo', 'b'] } })).stdout, 'b');
  await assertRefused(
    { image: { Entrypoint: null } },
    'cannot run a program: the image has neither ENTRYPOINT nor CMD, and the action has no command',
  );
});

test('the exit code is that of the program', async () => {
  assert.equal((await run({ command: ['sh', '-c', 'exit 42'] })).exitCode, 42);
});

test('the environment is the default, that of the image and that of the action, and the last wins', async () => {
  const image = { Env: ['A=image', 'B=image', 'C=image', 'HOSTNAME=image'] };
  const output = await shell('env', { image, env: ['B=a=b', 'C', 'D='] });
  const variables = output.split('\n').toSorted();
  assert.deepEqual(
    variables.filter((variable) => !/^(?:HOME|PWD|SHLVL)=/.test(variable)),
    ['A=image', 'B=a=b', 'D=', 'HOSTNAME=image', 'PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'],
  );
  assert.match(await shell('env', { image: { Env: ['PATH=/bin'] } }), /^PATH=\/bin$/m);
});

test('the working directory is that of the image, and made', async () => {
  assert.equal(await shell('pwd'), '/');
  assert.equal(await shell('pwd', { image: { WorkingDir: '/some/where' } }), '/some/where');
  assert.equal(await shell('pwd', { image: { WorkingDir: 'bin' } }), '/bin');
});

test('the user is the resolved one, and only root has effective capabilities', async () => {
  const user = { uid: 1000, gid: 100, additionalGids: [7, 8] };
  const output = await shell('id -u; id -g; id -G; grep CapEff /proc/self/status', { user });
  assert.equal(output, '1000\n100\n100 7 8\nCapEff:\t0000000000000000');
});

test('root has every capability that this process may have, and no inheritable one', async () => {
  const ours = /^CapBnd:\s*(\w+)$/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1];
  const output = await shell('grep -E "Cap(Inh|Prm|Eff|Bnd)|Seccomp:|NoNewPrivs" /proc/self/status');
  const expected = [`CapInh:\t${'0'.repeat(16)}`, `CapPrm:\t${ours}`, `CapEff:\t${ours}`, `CapBnd:\t${ours}`];
  assert.deepEqual(output.split('\n'), [...expected, 'NoNewPrivs:\t0', 'Seccomp:\t0']);
});

const findDevices = 'find /dev -xdev "(" -type b -o -type c ")"';

async function machineDevices(): Promise<string[]> {
  return (await execa('sh', ['-c', findDevices], { reject: false })).stdout.split('\n');
}

test("all devices of the machine are in /dev with the machine's numbers, owners and modes, and may be opened", async () => {
  const before = await machineDevices();
  const theirs = await shell(findDevices);
  const after = await machineDevices();
  const itsOwn = new Set(['/dev/ptmx', '/dev/console', ...theirs.split('\n')]);
  // Other tests make devices, and take them away, at the same time.
  const missing = before.filter((path) => after.includes(path) && !itsOwn.has(path));
  assert.deepEqual(missing, []);
  const [tty, loop] = await Promise.all([stat('/dev/tty63'), stat('/dev/loop-control')]);
  const numbers = (status: { rdev: number }) =>
    `${(status.rdev >> 8).toString(16)}:${(status.rdev & 0xff).toString(16)}`;
  const format = "stat -c '%t:%T %a %u:%g' /dev/tty63 /dev/loop-control; : <>/dev/loop-control; : </dev/zero";
  assert.equal(
    await shell(format),
    [tty, loop].map((s) => `${numbers(s)} ${(s.mode & 0o7777).toString(8)} ${s.uid}:${s.gid}`).join('\n'),
  );
});

test('a device that is made later may be used: the control group allows all', async () => {
  assert.equal(await shell('mknod /dev/later c 1 5; head -c 3 /dev/later | wc -c'), '3');
});

test('a device with numbers beyond one byte keeps them', async () => {
  await execa('mknod', ['--mode=0640', `/dev/nibs-${process.pid}`, 'b', '259', '1048575']);
  try {
    const device = (await specOf({ command: ['true'] })).linux.devices.find(({ path }) => path.includes('nibs-'));
    assert.deepEqual(device, {
      ...{ type: 'b', path: `/dev/nibs-${process.pid}`, major: 259, minor: 1048575, fileMode: 0o640, uid: 0, gid: 0 },
    });
  } finally {
    await rm(`/dev/nibs-${process.pid}`);
  }
});

test('/proc, /sys and the control groups are writable and nothing is hidden', async () => {
  const output = await shell(`
    awk '$2 ~ "^/(proc|sys)" { split($4, o, ","); print $2, $3, o[1] }' /proc/mounts
    mkdir /sys/fs/cgroup/*/nibs-inner 2>/dev/null || mkdir /sys/fs/cgroup/nibs-inner
    rmdir /sys/fs/cgroup/*/nibs-inner /sys/fs/cgroup/nibs-inner 2>/dev/null || true
    cat /proc/sys/vm/swappiness >/proc/sys/vm/swappiness`);
  const mounts = output.split('\n');
  for (const own of ['/proc proc rw', '/sys sysfs rw']) assert.ok(mounts.includes(own), output);
  assert.ok(
    mounts.some((mount) => /^\/sys\/fs\/cgroup\S* cgroup2? rw$/.test(mount)),
    output,
  );
  assert.deepEqual(
    mounts.filter((mount) => mount.startsWith('/proc') || mount.endsWith(' ro')),
    ['/proc proc rw'],
  );
});

test('/dev/shm, /dev/mqueue and /dev/pts are its own', async () => {
  const output = await shell(
    'awk \'$2 ~ "^/dev" { print $2, $3 }\' /proc/mounts; touch /dev/shm/a; ls /dev/shm; ls /dev/ptmx',
  );
  const expected = ['/dev tmpfs', '/dev/mqueue mqueue', '/dev/pts devpts', '/dev/shm tmpfs', 'a', '/dev/ptmx'];
  assert.deepEqual(output.split('\n').toSorted(), expected.toSorted());
});

test('it has processes, a host name and a network of its own, or those of the machine', async () => {
  const namespaces = async (wanted: Wanted) =>
    await shell('hostname; for n in pid net uts ipc mnt; do readlink /proc/self/ns/$n; done', wanted);
  const paths = ['pid', 'net', 'uts', 'ipc', 'mnt'].map((name) => `/proc/self/ns/${name}`);
  const [pid = '', net = '', ...others] = (await execa('readlink', paths)).stdout.split('\n');

  const network = await startNamespaceHolder();
  const apart = (await namespaces({ networkNamespace: network.path })).split('\n');
  assert.equal(apart[0], 'action-x');
  assert.equal(apart[2], network.identity);
  for (const own of [pid, net, ...others]) assert.ok(!apart.includes(own), own);
  await network.end();

  const together = (await namespaces({ pidMode: 'host' })).split('\n');
  assert.deepEqual(together.slice(0, 3), ['action-x', pid, net]);
  for (const own of others) assert.ok(!together.includes(own), own);
  await assertRefused(
    { command: ['true'], pidMode: 'container:abc' },
    'cannot use the PID mode "container:abc": with containerd there is only "host"',
  );
});

/** A process in a new network namespace. */
async function startNamespaceHolder() {
  const holder = execa('unshare', ['--net', 'sh', '-c', 'readlink /proc/self/ns/net; exec cat'], { reject: false });
  const [identity] = await holder
    .iterable()
    [Symbol.asyncIterator]()
    .next()
    .then(({ value }) => [String(value)]);
  return {
    identity,
    path: `/proc/${holder.pid}/ns/net`,
    end: async () => {
      holder.kill();
      await holder;
    },
  };
}

test('files for /etc are bound, unless the action binds its own', async () => {
  const script = 'cat /etc/resolv.conf /etc/hosts /etc/hostname';
  assert.equal(await shell(script), 'resolvConf of the agent\nhosts of the agent\nhostname of the agent');
  await writeFile(at('own'), 'own\n');
  const volumes = [`${at('own')}:/etc/hosts`];
  assert.equal(await shell(script, { volumes }), 'resolvConf of the agent\nown\nhostname of the agent');
});

test('directories of the machine are bound, made if they are missing, and read-only where it says so', async () => {
  await mkdir(at('data'));
  const volumes = [`${at('data')}:/data`, `${at('data')}:/read/:ro`, `${at('new', 'er')}:/new:z,rw,rslave`];
  const script = 'echo hello >/data/file; cat /read/file; touch /new/er; ! touch /read/other 2>/dev/null';
  assert.equal(await shell(script, { volumes }), 'hello');
  assert.equal(await readFile(at('data', 'file'), 'utf8'), 'hello\n');
  assert.deepEqual(await readdir(at('new', 'er')), ['er']);
});

test('a bind within another one is not hidden by it', async () => {
  await mkdir(at('outer', 'inner'), { recursive: true });
  await mkdir(at('other'));
  await writeFile(at('other', 'file'), 'other');
  const volumes = [`${at('other')}:/a/inner`, `${at('outer')}:/a`];
  assert.equal(await shell('cat /a/inner/file', { volumes }), 'other');
});

test('a name is a volume, which stays for the next container', async () => {
  const volumes = ['cache:/cache'];
  await shell('echo kept >/cache/file', { volumes });
  assert.equal(await shell('cat /cache/file', { volumes }), 'kept');
  assert.equal(await readFile(at('volumes', 'cache', 'file'), 'utf8'), 'kept\n');
});

test("the machine's /dev is the container's when the action binds it, by either field", async () => {
  const bound: Wanted[] = [
    { volumes: ['/dev:/dev'] },
    { mounts: [{ source: '/dev', target: '/dev' }] },
    { volumes: ['/dev:/dev/', '/dev/pts:/dev/pts', '/sys:/sys', '/proc:/proc'] },
  ];
  const device = (await lstat('/dev/null')).dev;
  const script = 'stat -c %d /dev/null; awk \'$2 == "/dev" { print $3 }\' /proc/mounts';
  // Nothing of the container's own lies below it.
  for (const one of bound) assert.equal(await shell(script, one), `${device}\ndevtmpfs`);
});

test('/proc, /sys and /dev/pts are those of the machine when the action binds them', async () => {
  const volumes = ['/dev/pts:/dev/pts', '/sys:/sys', '/proc:/proc'];
  const paths = ['/dev/pts', '/sys', '/proc'];
  const devices = await Promise.all(paths.map(async (path) => (await stat(path)).dev));
  assert.equal(
    await shell(`stat -c %d ${paths.join(' ')}; ls /dev/loop0`, { volumes }),
    `${devices.join('\n')}\n/dev/loop0`,
  );
});

test('a mount in a shared bind reaches the machine, and in any other does not', async () => {
  await mkdir(at('shared'));
  await execa('mount', ['--bind', at('shared'), at('shared')]);
  await execa('mount', ['--make-shared', at('shared')]);
  const seenOf = async (bind: string) => {
    await shell('mkdir -p /m/x; mount -t tmpfs tmpfs /m/x; touch /m/x/file', { volumes: [bind] });
    return await readdir(at('shared', 'x'));
  };
  assert.deepEqual(await seenOf(`${at('shared')}:/m`), []);
  assert.deepEqual(await seenOf(`${at('shared')}:/m:rslave`), []);
  assert.deepEqual(await seenOf(`${at('shared')}:/m:rshared`), ['file']);
});

test('an invalid bind is refused with the bind and the reason', async () => {
  const bad: [string, string][] = [
    ['/data', 'it is not of the form source:target[:options]'],
    ['/a:/b:ro:rw', 'it is not of the form source:target[:options]'],
    ['/tmp:data', 'its target must be an absolute path, and not /'],
    ['/tmp:/x/..', 'its target must be an absolute path, and not /'],
    ['./data:/data', '"./data" is neither an absolute path nor the name of a volume'],
    ['..:/data', '".." is neither an absolute path nor the name of a volume'],
    [':/data', '"" is neither an absolute path nor the name of a volume'],
    ['/tmp:/data:rx', 'unknown option "rx"'],
    ['/tmp:/data:rw,ro', 'options rw and ro exclude each other'],
    ['/dev/null/x:/data', "ENOTDIR: not a directory, mkdir '/dev/null/x'"],
  ];
  for (const [bind, reason] of bad)
    await assertRefused({ command: ['true'], volumes: [bind] }, `cannot bind "${bind}": ${reason}`);
  await assertRefused({ command: ['true'], volumes: ['/tmp:/a', '/bin:/a/'] }, 'cannot bind /bin: /a is bound already');
  await assertRefused(
    { command: ['true'], mounts: [{ source: at('none'), target: '/a' }] },
    `cannot mount ${at('none')} at /a: there is no ${at('none')}`,
  );
});

test('resolveUser() knows names and numbers of users and groups, as Docker does', async () => {
  const rootfs = at('users');
  await mkdir(join(rootfs, 'etc'), { recursive: true });
  await writeFile(
    join(rootfs, 'etc', 'passwd'),
    '# users\nroot:x:0:0:root:/root:/bin/sh\nana:x:1000:100::/:\n7:x:77:77::/:\nodd:x:minus:1::/:\n',
  );
  await writeFile(join(rootfs, 'etc', 'group'), 'root:x:0:\ndisk:x:6:root,ana\nusers:x:100:\nwheel:x:10:root\nbad\n');
  const cases: [string | undefined, number, number, number[]][] = [
    [undefined, 0, 0, [6, 10]],
    ['', 0, 0, [6, 10]],
    ['0', 0, 0, [6, 10]],
    ['ana', 1000, 100, [6]],
    ['1000', 1000, 100, [6]],
    ['ana:', 1000, 100, [6]],
    ['ana:disk', 1000, 6, []],
    ['ana:4711', 1000, 4711, []],
    ['4711', 4711, 0, []],
    ['4711:users', 4711, 100, []],
    ['7', 7, 0, []],
    [':disk', 0, 6, []],
  ];
  for (const [text, uid, gid, additionalGids] of cases)
    assert.deepEqual(await resolveUser(text, rootfs), { uid, gid, additionalGids }, text);
  const unknown: [string, string][] = [
    ['bob', 'the image has no user bob in /etc/passwd'],
    ['odd', 'the image has no user odd in /etc/passwd'],
    ['2147483648', 'the image has no user 2147483648 in /etc/passwd'],
    ['ana:bobs', 'the image has no group bobs in /etc/group'],
  ];
  for (const [text, reason] of unknown)
    await assert.rejects(resolveUser(text, rootfs), {
      name: 'SpecError',
      message: `cannot run as user "${text}": ${reason}`,
    });
});

test('resolveUser() reads no file but regular ones of the image', async () => {
  const rootfs = at('links');
  await mkdir(join(rootfs, 'etc'), { recursive: true });
  await mkdir(join(rootfs, 'store'));
  // In the image, this is /store/passwd; on the machine there is such a file too.
  await writeFile(at('passwd'), 'ana:x:1:1::/:\n');
  await writeFile(join(rootfs, 'store', 'passwd'), 'ana:x:2:2::/:\n');
  const passwd = join(rootfs, 'etc', 'passwd');
  for (const target of ['/store/passwd', '../../../store/passwd', '../store/./passwd']) {
    await symlink(target, passwd);
    assert.equal((await resolveUser('ana', rootfs)).uid, 2, target);
    await rm(passwd);
  }
  for (const target of [at('passwd'), '../../passwd', 'nowhere', '/dev/zero']) {
    await symlink(target, passwd);
    await assert.rejects(resolveUser('ana', rootfs), /the image has no user ana/, target);
    await rm(passwd);
  }
  await symlink('passwd', passwd);
  await assert.rejects(resolveUser('ana', rootfs), {
    name: 'SpecError',
    message: 'cannot read /etc/passwd in the image: too many links',
  });
  await rm(passwd);
  await execa('mkfifo', [passwd]);
  await assert.rejects(resolveUser('ana', rootfs), /the image has no user ana/);
  await rm(passwd);
  // Half a megabyte of an image.
  await writeFile(passwd, '');
  await truncate(passwd, 400e6);
  await assertLoopIsFree('400 MB of /etc/passwd', () =>
    assert.rejects(resolveUser('ana', rootfs), {
      name: 'SpecError',
      message: 'cannot read /etc/passwd in the image: it has 400000000 bytes, more than 1048576',
    }),
  );
});

test('withMounted() mounts layers read-only while the work runs, also very many and when it fails', async () => {
  const long = 'x'.repeat(100);
  const layers = Array.from({ length: 60 }, (_, number) => at(long, String(number), 'fs'));
  for (const [number, layer] of layers.entries()) {
    await mkdir(layer, { recursive: true });
    await writeFile(join(layer, `file-${number}`), '');
  }
  const bind = { type: 'bind', source: layers[0] ?? '', target: '', options: ['rw', 'rbind'] };
  const overlay = { type: 'overlay', source: 'overlay', target: '', options: [`lowerdir=${layers.join(':')}`] };
  for (const [mount, count] of [[bind, 1] as const, [overlay, 60] as const]) {
    const seen = await withMounted([mount], async (mounted) => {
      await assert.rejects(writeFile(join(mounted, 'new'), ''), { code: 'EROFS' });
      // A setuid program of the image is of no use, and no other user can reach it.
      const options = (await execa('findmnt', ['--noheadings', '--output', 'VFS-OPTIONS', mounted])).stdout.split(',');
      for (const option of ['ro', 'nosuid', 'nodev', 'noexec']) assert.ok(options.includes(option), options.join());
      assert.equal((await stat(join(mounted, '..'))).mode & 0o777, 0o700);
      return { mounted, names: await readdir(mounted) };
    });
    assert.equal(seen.names.length, count);
    await assert.rejects(stat(seen.mounted), { code: 'ENOENT' });
  }
  let where = '';
  const failing = withMounted([bind], async (mounted) => {
    where = mounted;
    throw new Error('no luck');
  });
  await assert.rejects(failing, { message: 'no luck' });
  await assert.rejects(stat(where), { code: 'ENOENT' });
  const nowhere = { ...bind, source: at('nowhere') };
  await assert.rejects(
    withMounted([nowhere], async () => {}),
    (error: SpecError) => {
      assert.match(error.message, /^cannot mount the image: mount: .*nowhere/);
      return error.name === 'SpecError';
    },
  );
});

test('containerd runs a container of the specification', async () => {
  await using containerd = await startContainerd();
  const spec = await specOf({ command: ['sh', '-c', 'echo ran; exit 3'] });
  // Without a snapshot, ctr needs the path of the files.
  await writeFile(at('config.json'), JSON.stringify({ ...spec, root: { path: at('rootfs') } }));
  const ran = containerd.ctr('run', '--rm', '--config', at('config.json'), id);
  await assert.rejects(ran, { exitCode: 3, stdout: 'ran' });
});
