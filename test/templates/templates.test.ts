/**
 * The templates of templates/: each is rendered by the template engine, given to a server of the
 * oldest and the newest protocol version, and run by the agent with the real action image on loop
 * devices.
 */
import assert from 'node:assert/strict';
import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { mkdir, mkdtemp, open, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { after, before, type TestContext, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { execa } from 'execa';
import { parse } from 'yaml';
import { TemplateEngine } from '../../agent/template/engine/engine.ts';
import { render } from '../../agent/template/render.ts';
import { readTemplate } from '../../agent/template/template.ts';
import { startAgentProcess } from '../sandbox/agent-under-test/agent-process.ts';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import { type Engine, startEngine } from '../sandbox/engine.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { type Mirror, startMirror } from '../sandbox/mirror.ts';
import { readOciArchive } from '../sandbox/oci-archive.ts';
import { readOemFile } from '../sandbox/oem-file.ts';
import { pollUntil } from '../sandbox/poll-until.ts';
import { type Registry, startRegistry } from '../sandbox/registry.ts';
import { mountDevice } from '../sandbox/scratch-mount.ts';
import { makeSignedRelease, publish, type SignedRelease } from '../sandbox/signed-release.ts';
import { MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { startTinkServer } from '../sandbox/tink-server/server.ts';

const root = resolve(import.meta.dirname, '../..');
const folder = join(root, 'templates');
const mebibyte = 1024 * 1024;
const ignition = '{"ignition": {"version": "3.3.0"}}\n';
const cloudConfig = '#cloud-config\nhostname: machine-1\n';
const base64 = (text: string) => Buffer.from(text).toString('base64');

let engine: Engine;
let registry: Registry;
let mirror: Mirror;
let release: SignedRelease;
let templates: TemplateEngine;

before(async () => {
  [engine, registry, mirror, release, templates] = await Promise.all([
    startEngine({ privileged: true }),
    startRegistry({ password: 'canary-of-the-registry' }),
    startMirror(),
    makeSignedRelease(),
    TemplateEngine.load(),
  ]);
  publish(mirror, release);
  // As a site makes it: its mirror stands in for the Internet, and its key for Flatcar's.
  const archive = join(release.directory, 'flatcar-install.oci.tar');
  const script = join(root, 'initramfs/action-image.ts');
  const site = ['--output', archive, '--mirror', mirror.url, '--key', release.keyPath];
  await execa(process.execPath, [script, ...site]);
  await registry.push('flatcar-install', await readOciArchive(archive));
  const writer = join(release.directory, 'image2disk.oci.tar');
  await execa(process.execPath, [script, '--name', 'image2disk', '--output', writer]);
  for (const name of ['image2disk', 'qemuimg2disk']) await registry.push(name, await readOciArchive(writer));
});

after(async () => {
  const all = [engine, registry, mirror, release];
  for (const one of all) await one?.[Symbol.asyncDispose]();
});

type Dialect = 'v0.1' | 'current';

interface Machine {
  readonly disk: LoopDevice;
  readonly dataDisk: LoopDevice;
}

interface Ran extends Machine {
  /** Lines of the agent's output. */
  readonly output: string;
  /** What the reboot command has written. */
  readonly reboots: string;
}

/** Runs a template to the success of its last action. */
async function run(
  t: TestContext,
  name: string,
  dialect: Dialect,
  prepare: (machine: Machine) => Promise<void> = async () => {},
  environment: Readonly<Record<string, string>> = {},
  diskBytes = release.imageBytes + 32 * mebibyte,
): Promise<Ran> {
  const stack = new AsyncDisposableStack();
  t.after(() => stack.disposeAsync());
  const directory = await mkdtemp(join(tmpdir(), 'nibs-template-'));
  stack.defer(() => rm(directory, { recursive: true }));
  const disk = stack.use(await createLoopDevice({ sizeBytes: diskBytes }));
  const dataDisk = stack.use(await createLoopDevice({ sizeBytes: 16 * mebibyte }));
  await prepare({ disk, dataDisk });

  const text = await fill(name, dialect, { disk, dataDisk });
  // A question for work ends soon, so that the agent learns soon that there is no more.
  const retry = { intervalSeconds: 0.2, limitSeconds: 1 };
  const server = await startTinkServer({ dialect, retry, tls: dialect === 'v0.1' });
  stack.defer(() => server.stop());
  const hardware: unknown = JSON.parse(await readFile(join(folder, 'hardware/v0.1.0.json'), 'utf8'));
  if (dialect === 'v0.1') server.pushHardware(hardware);
  const { workerId, authority, certificateUrl } = enrol(server);
  const onThisMachine = inDirectory(text, directory, disk);
  for (const name of ['statedir', 'worker']) await mkdir(join(directory, name));
  const workflow = server.createWorkflow(server.createTemplate('example', onThisMachine), {});

  await writeFile(join(directory, 'reboot'), `#!/bin/sh\necho reboot >> ${directory}/reboots\n`, { mode: 0o755 });
  const agent = stack.use(
    startAgentProcess({
      flags: ['--retry-interval=200ms', `--reboot-command=${directory}/reboot`],
      environment: {
        ...{ WORKER_ID: workerId, TINKERBELL_GRPC_AUTHORITY: authority },
        ...(certificateUrl === undefined ? { TINKERBELL_TLS: 'false' } : { TINKERBELL_CERT_URL: certificateUrl }),
        ...{ NIBS_STATE_DIRECTORY: join(directory, 'state'), NIBS_WORK_DIRECTORY: join(directory, 'worker') },
        ...{ NIBS_LOG_FORMAT: 'text', DOCKER_HOST: engine.host, DOCKER_REGISTRY: registry.host },
        ...{ REGISTRY_USERNAME: registry.username, REGISTRY_PASSWORD: registry.password },
        ...environment,
      },
    }),
  );
  const actions = actionsOf(onThisMachine);
  const isOver = (seen: readonly { progress: string; actionName: string }[]) =>
    seen.some(({ progress, actionName }) =>
      progress === 'SUCCESS' ? actionName === actions.at(-1) : progress !== 'RUNNING' && progress !== 'PENDING',
    );
  const events = await server.waitFor(workflow, isOver);
  const ends = events.filter(({ progress }) => progress !== 'RUNNING' && progress !== 'PENDING');
  const messages = events.map(({ message }) => message).join('\n');
  assert.deepEqual(
    ends.map(({ actionName, progress }) => `${actionName} ${progress}`),
    actions.map((action) => `${action} SUCCESS`),
    `${messages}\n${agent.output.join('\n')}`,
  );
  const readReboots = () => readFile(join(directory, 'reboots'), 'utf8').catch(() => '');
  if (environment['NIBS_FINISH'] !== undefined || onThisMachine.includes('/worker/reboot'))
    await pollUntil(async () => (await readReboots()) !== '', 'the reboot');
  return { disk, dataDisk, output: agent.output.join('\n'), reboots: await readReboots() };
}

/** The template as the controller renders it; nothing in it is warned of. */
async function fill(name: string, dialect: Dialect, { disk, dataDisk }: Machine): Promise<string> {
  const path = join(folder, `${name}.yaml`);
  const hardware = await readFile(join(folder, 'hardware/current.yaml'), 'utf8');
  const data = {
    variables: {
      machine1: MACHINE_ONE.mac,
      registry: dialect === 'current' ? `${registry.host}/` : '',
      ...{ ignition: base64(ignition), cloud_config: base64(cloudConfig), mirror: mirror.url },
      ...{ disk: disk.path, data_disk: dataDisk.path },
    },
    hardware: { path, content: hardware.replace('/dev/sda', disk.path) },
  };
  const source = await readFile(path, 'utf8');
  assert.deepEqual(readTemplate(templates, source, data, path).warnings, []);
  return render(templates, source, data).text;
}

/**
 * Directories of this machine become those of the test, and "the smallest disk" its loop device: no
 * disk of this machine can be chosen.
 */
function inDirectory(text: string, directory: string, disk: LoopDevice): string {
  const changed = text
    .replace(/^( +- )-s$/gm, `$1-d\n$1${disk.path}`)
    .replaceAll('/statedir:/statedir', `${directory}/statedir:/statedir`)
    .replaceAll('/worker:/worker', `${directory}/worker:/worker`);
  const commands = actionsOf(changed, ({ command = [] }) => command.join(' ')).join('\n');
  assert.doesNotMatch(commands, /(?:^| )-s(?: |$)|\/dev\/(?!loop\d)/m);
  return changed;
}

async function templateNames(): Promise<string[]> {
  return (await readdir(folder)).filter((name) => name.endsWith('.yaml'));
}

interface ParsedAction {
  readonly name: string;
  readonly command?: readonly string[];
}

function actionsOf(text: string, show: (action: ParsedAction) => string = ({ name }) => name): string[] {
  const { tasks }: { tasks: { actions: ParsedAction[] }[] } = parse(text);
  return tasks.flatMap(({ actions }) => actions.map(show));
}

async function assertInstalled({ disk }: Machine, config = ignition): Promise<void> {
  assert.equal((await readOemFile(disk.backingPath, 'config.ign')).toString(), config);
}

async function hashOf(path: string, start = 0, end = Number.POSITIVE_INFINITY): Promise<string> {
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path, { start, end })) hash.update(chunk);
  return hash.digest('hex');
}

async function fillWith(path: string, start: number, bytes: Buffer): Promise<void> {
  await using file = await open(path, 'r+');
  await file.write(bytes, 0, bytes.length, start);
  await file.sync();
}

test('blog-post.yaml installs the newest release, with a server of v0.1', async (t) => {
  await assertInstalled(await run(t, 'blog-post', 'v0.1'));
});

for (const dialect of ['v0.1', 'current'] as const) {
  test(`local-mirror.yaml installs, and nibs_finish restarts the machine: ${dialect}`, async (t) => {
    const ran = await run(t, 'local-mirror', dialect, undefined, { NIBS_FINISH: 'reboot' });
    await assertInstalled(ran);
    assert.equal(ran.reboots, 'reboot\n');
  });

  test(`reboot-action.yaml installs, and its action restarts the machine once: ${dialect}`, async (t) => {
    const ran = await run(t, 'reboot-action', dialect);
    await assertInstalled(ran);
    assert.equal(ran.reboots, 'reboot\n');
  });
}

test('wipe-install.yaml removes signatures of disk and partitions first: v0.1', async (t) => {
  const ran = await run(t, 'wipe-install', 'v0.1', async ({ disk }) => {
    await execa('sgdisk', ['--new', '1:2048:+4M', disk.path]);
    await execa('partx', ['--update', disk.path]);
    await execa('mke2fs', ['-q', '-t', 'ext4', `${disk.path}p1`]);
  });
  const erased = [...ran.output.matchAll(/(\/dev\/loop\w+): \d+ bytes were erased at offset .* \((\w+)\)/g)];
  assert.deepEqual(
    erased.map(([, device, signature]) => `${device} ${signature}`),
    [`${ran.disk.path}p1 ext4`, ...['gpt', 'gpt', 'PMBR'].map((signature) => `${ran.disk.path} ${signature}`)],
  );
  await assertInstalled(ran);
  assert.equal(ran.reboots, '');
});

test('several-disks.yaml keeps the partition "data" and the other disk: current', async (t) => {
  const noise = randomBytes(2 * mebibyte);
  const first = release.imageBytes;
  const hashes: string[] = [];
  const kept = ({ disk, dataDisk }: Machine) =>
    Promise.all([hashOf(disk.path, first, first + noise.length - 1), hashOf(dataDisk.path)]);
  const ran = await run(t, 'several-disks', 'current', async (machine) => {
    const { disk, dataDisk } = machine;
    await execa('sgdisk', ['--new', `9:${first / 512}:+8M`, '--change-name', '9:data-1', disk.path]);
    await fillWith(disk.path, first, noise);
    await fillWith(dataDisk.path, 4096, noise);
    hashes.push(...(await kept(machine)));
  });
  await assertInstalled(ran);
  assert.deepEqual(await kept(ran), hashes);
  const { stdout } = await execa('sgdisk', ['--print', ran.disk.path]);
  assert.match(stdout, / data-1$/m);
});

test('cloud-config.yaml installs with the cloud-config: v0.1', async (t) => {
  const { disk } = await run(t, 'cloud-config', 'v0.1');
  await execa('partx', ['--update', disk.path]);
  await using mounted = await mountDevice(`${disk.path}p9`, '-o', 'ro');
  assert.equal(await readFile(join(mounted.directory, 'var/lib/flatcar-install/user_data'), 'utf8'), cloudConfig);
});

test('from-hardware.yaml takes disk and Ignition config from the Hardware: current', async (t) => {
  await assertInstalled(await run(t, 'from-hardware', 'current'));
});

/** A disk image with a GPT and data that does not compress. */
async function makeRawImage(sizeBytes: number): Promise<string> {
  const path = join(release.directory, 'other-system.raw');
  await rm(path, { force: true });
  const file = await open(path, 'w');
  await file.truncate(sizeBytes);
  await file.close();
  await execa('sgdisk', ['--clear', '--new', '1:2048:+4M', '--new', '2:0:+12M', path]);
  for (const start of [1, 3, 9, 15]) await fillWith(path, start * mebibyte, randomBytes(mebibyte));
  return path;
}

/** The first partitions are those of the image; the table covers the disk. */
async function assertWritten({ disk }: Machine, image: string): Promise<void> {
  await execa('blockdev', ['--flushbufs', disk.path]);
  const range = [mebibyte, 17 * mebibyte - 1] as const;
  assert.equal(await hashOf(disk.path, ...range), await hashOf(image, ...range));
  assert.match((await execa('sgdisk', ['--verify', disk.path])).stdout, /No problems found/);
}

for (const dialect of ['v0.1', 'current'] as const) {
  test(`ubuntu-cloud-image.yaml writes a qcow2 image: ${dialect}`, async (t) => {
    const image = await makeRawImage(64 * mebibyte);
    await execa('qemu-img', ['convert', '-c', '-O', 'qcow2', image, `${image}.qcow2`]);
    mirror.put('/noble-server-cloudimg-amd64.img', await readFile(`${image}.qcow2`));
    await assertWritten(await run(t, 'ubuntu-cloud-image', dialect), image);
  });

  test(`debian-raw-xz.yaml writes a verified image: ${dialect}`, async (t) => {
    const image = await makeRawImage(32 * mebibyte);
    await execa('xz', ['--keep', '--force', '-1', image]);
    const bytes = await readFile(`${image}.xz`);
    const hash = createHash('sha512').update(bytes).digest('hex');
    mirror.put('/debian-13-generic-amd64.raw.xz', bytes);
    mirror.put('/SHA512SUMS', Buffer.from(`${hash}  debian-13-generic-amd64.raw.xz\n`));
    await assertWritten(await run(t, 'debian-raw-xz', dialect), image);
  });
}

test('windows-raw-gz.yaml writes 20 GB of which most are zeroes: current', async (t) => {
  const diskBytes = 20 * 1024 * mebibyte;
  const image = await makeRawImage(diskBytes);
  const head = gzipSync(await readStart(image, 17 * mebibyte), { level: 1 });
  // A gzip file may have several members.
  const zeroes = gzipSync(Buffer.alloc(1024 * mebibyte), { level: 1 });
  const end = gzipSync(Buffer.concat([Buffer.alloc(1007 * mebibyte - 33 * 512), await readEnd(image, 33 * 512)]), {
    level: 1,
  });
  mirror.put('/windows.raw.gz', Buffer.concat([head, ...Array<Buffer>(19).fill(zeroes), end]));
  const ran = await run(t, 'windows-raw-gz', 'current', undefined, {}, diskBytes);
  await assertWritten(ran, image);
  const { blocks } = await stat(ran.disk.backingPath);
  assert.ok(blocks * 512 < 64 * mebibyte, `${blocks * 512} bytes of the disk are written`);
});

async function readStart(path: string, lengthBytes: number): Promise<Buffer> {
  await using file = await open(path);
  return (await file.read(Buffer.alloc(lengthBytes), 0, lengthBytes, 0)).buffer;
}

async function readEnd(path: string, lengthBytes: number): Promise<Buffer> {
  await using file = await open(path);
  const { size } = await file.stat();
  return (await file.read(Buffer.alloc(lengthBytes), 0, lengthBytes, size - lengthBytes)).buffer;
}

test('each template renders without a warning for servers of v0.1 and current, as far as it is for them', async () => {
  await using disk = await createLoopDevice({ sizeBytes: mebibyte });
  for (const name of await templateNames()) {
    for (const dialect of ['v0.1', 'current'] as const) {
      const text = await fill(name.replace('.yaml', ''), dialect, { disk, dataDisk: disk });
      assert.ok(actionsOf(text).length >= 1, name);
      assert.doesNotMatch(text, /<no value>|\{\{/, name);
    }
  }
});

test('each template has a test and a row in templates/README.md', async () => {
  const names = await templateNames();
  const [tests, page] = await Promise.all([
    readFile(import.meta.filename, 'utf8'),
    readFile(join(folder, 'README.md'), 'utf8'),
  ]);
  assert.ok(names.length >= 7);
  for (const name of names) {
    assert.match(tests, new RegExp(`^ *test\\(['\`]${name} `, 'm'), name);
    assert.ok(page.includes(`| [${name}](${name}) |`), `${name} has no row`);
  }
});
