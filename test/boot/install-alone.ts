import { createHash } from 'node:crypto';
import { cp, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { type BootServerOptions, startBootServer } from '../sandbox/boot-server.ts';
import { startDhcp } from '../sandbox/dhcp.ts';
import type { Machine } from '../sandbox/machine.ts';
import { seedIgnition } from '../sandbox/seed.ts';
import { SyslogServer } from '../sandbox/syslog-server.ts';
import { makeLoginKey } from '../sandbox/workflows/login-key.ts';
import { packSite } from './second-initramfs.ts';
import { machineAddress, machineMac, siteAddress } from './site.ts';
import { runBySsh } from './ssh.ts';
import { build, makeDisk, type Scene, startBootImage, startInstalled, waitForEnd, whileItRuns } from './story.ts';

/** More than 10 GB, which `flatcar-install -s` asks for. */
const diskBytes = 10_737_418_240;

/**
 * `nibs_install` installs the image of the demo, whose mirror and signing key the site has added,
 * with an Ignition config from a web server. The system on the disk starts and lets the key of that
 * config log in.
 */
export async function installAlone(scene: Scene): Promise<void> {
  const { directory } = scene;
  const key = await makeLoginKey(directory);
  const config = seedIgnition(key.public);
  const hash = createHash('sha512').update(config).digest('hex');
  const options = `-s --ignition-url http://${siteAddress}/node.ign --ignition-hash sha512-${hash}`;
  const texts = { '/node.ign': () => config };
  await using _servers = await startServers(directory, {
    texts,
    files: { '/mirror/': join(build, 'os-image/mirror') },
  });
  const disk = await makeDisk(directory, scene.row.disk, diskBytes);
  await using machine = await startBootImage(scene, {
    kernelArguments: [`nibs_install="${options}"`],
    secondInitramfs: await packSite({ files: [await writeSiteFiles(directory)] }, directory),
    disks: [disk],
  });
  await waitForEnd(machine, scene);
  refuse(machine, /nibs: agent starts/);
  expectLine(machine, /nibs: installed: reboot/);

  await using installed = await startInstalled(scene, disk);
  await whileItRuns(installed, scene, (signal) =>
    installed.console.waitForLine(/nibs sandbox OS ready .+ \(ssh\)/, { signal }),
  );
  const user = await runBySsh({ user: 'core', address: machineAddress, key: key.path, command: 'id -un' });
  if (user !== 'core') throw new Error(`logged in as ${user}`);
  await installed[Symbol.asyncDispose]();
  await rm(disk.path);
}

/** No disk is large enough. */
export async function failAlone(scene: Scene): Promise<void> {
  const { directory } = scene;
  const secret = 'c4n4ry';
  const stored = Promise.withResolvers<{ path: string; content: string }>();
  const onPut = (path: string, content: string) => stored.resolve({ path, content });
  await using _servers = await startServers(directory, { onPut });
  await using syslog = new SyslogServer('udp', { address: siteAddress, port: 514 });
  await syslog.start();
  const disk = await makeDisk(directory, scene.row.disk, 64 * 1024 * 1024);
  await using machine = await startBootImage(scene, {
    kernelArguments: [
      ...['nibs_install="-s --append-karg quiet"', `nibs_report_url=http://${siteAddress}/reports/machine.txt`],
      ...[`syslog_host=${siteAddress}`, `registry_password=${secret}`, 'nibs_shell'],
    ],
    disks: [disk],
  });
  const reason = /installation failed with status 1: Could not find smallest disk to install/;
  await whileItRuns(machine, scene, async (signal) => {
    await machine.console.waitForLine(new RegExp(`nibs: ${reason.source}`), { signal });
    await machine.console.waitForLine(/nibs: a report of the machine was sent/, { signal });
    await machine.console.waitForLine(/nibs: nothing has been installed; /, { signal });
    await Promise.race([
      syslog.until((messages) => messages.some((message) => reason.test(message))),
      rejectAtEnd(signal, 'syslog has no reason'),
    ]);
  });
  const { path, content } = await stored.promise;
  if (path !== '/reports/machine.txt') throw new Error(`the report was stored at ${path}`);
  if (!reason.test(content)) throw new Error('the report does not have the reason');
  if (content.includes(secret)) throw new Error('the report has a secret of the kernel command line');
  // The machine stays as it is.
  machine.type('\npidof tink-agent || echo no "agent" runs\n');
  await whileItRuns(machine, scene, (signal) => machine.console.waitForLine(/^no agent runs/, { signal }));
  await machine[Symbol.asyncDispose]();
  await rm(disk.path);
}

function rejectAtEnd(signal: AbortSignal, what: string): Promise<never> {
  const ended = Promise.withResolvers<never>();
  signal.addEventListener('abort', () => ended.reject(new Error(what, { cause: signal.reason })), { once: true });
  return ended.promise;
}

/** DHCP and a web server: there is no tink server. */
async function startServers(
  directory: string,
  { files = {}, texts = {}, ...options }: Partial<BootServerOptions>,
): Promise<AsyncDisposable> {
  await using started = new AsyncDisposableStack();
  started.use(await startBootServer({ address: siteAddress, port: 80, files, texts, ...options }));
  started.use(
    await startDhcp({
      ...{ directory, interface: 'br0', address: siteAddress, netmask: '255.255.255.248', names: {} },
      leases: [{ mac: machineMac, address: machineAddress }],
      scriptUrl: 'none',
    }),
  );
  return started.move();
}

/** Mirror and signing key of the image, as files for the root; returns their directory. */
async function writeSiteFiles(directory: string): Promise<string> {
  const files = join(directory, 'files');
  const own = join(files, 'etc/flatcar-install');
  await mkdir(own, { recursive: true });
  await writeFile(join(own, 'mirrors'), `http://${siteAddress}/mirror\n`);
  await cp(join(build, 'os-image/signing-key.asc'), join(own, 'signing-key.asc'));
  return files;
}

function expectLine(machine: Machine, pattern: RegExp): void {
  if (!hasLine(machine, pattern)) throw new Error(`no line of the console matches ${pattern}`);
}

function refuse(machine: Machine, pattern: RegExp): void {
  if (hasLine(machine, pattern)) throw new Error(`a line of the console matches ${pattern}`);
}

function hasLine(machine: Machine, pattern: RegExp): boolean {
  return machine.console.lines.some(({ text }) => pattern.test(text));
}
