import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { startBootServer } from '../sandbox/boot-server.ts';
import { startDaemon } from '../sandbox/daemon.ts';
import { readOciArchive } from '../sandbox/oci-archive.ts';
import { startRegistry } from '../sandbox/registry.ts';
import { seedIgnition, seedTemplate } from '../sandbox/seed.ts';
import { SyslogServer } from '../sandbox/syslog-server.ts';
import { startTinkServer } from '../sandbox/tink-server/server.ts';
import { makeLoginKey } from '../sandbox/workflows/login-key.ts';
import { engineOfImage } from './engine-of-image.ts';
import { machineMac } from './site.ts';
import { build, makeDisk, type Scene, startBootImage, startInstalled, waitForEnd, whileItRuns } from './story.ts';

/** Of the provisioner (unique local, RFC 4193). */
const address = 'fd00:1::1';
const host = `[${address}]`;
/** Podman takes no address in the name of an image. */
const registryName = 'registry.example';
const diskBytes = 10_737_418_240;

/**
 * The workflow of the demo in a network without IPv4: server, mirror and syslog are named by an
 * IPv6 address, with Docker the registry, too.
 */
export async function installOverIpv6(scene: Scene): Promise<void> {
  const { directory, signal } = scene;
  await using started = new AsyncDisposableStack();
  await execa('ip', ['-6', 'address', 'replace', `${address}/64`, 'dev', 'br0', 'nodad']);
  started.defer(async () => void (await execa('ip', ['-6', 'address', 'delete', `${address}/64`, 'dev', 'br0'])));
  started.use(await startRouter(directory));
  const registry = started.use(await startRegistry({ address, port: 5000, names: [registryName] }));
  await registry.push('flatcar-install', await readOciArchive(join(build, 'flatcar-install.oci.tar')));
  const files = { '/mirror/': join(build, 'os-image/mirror') };
  const texts = { '/workflow/ca.pem': () => registry.authority.certificate };
  started.use(await startBootServer({ address, port: 80, files, texts }));
  const syslog = started.use(new SyslogServer('udp', { address, port: 514 }));
  await syslog.start();
  const tink = started.use(
    await startTinkServer({ dialect: 'v0.9', address, grpcPort: 42113, httpPort: 42114, tls: false }),
  );
  const key = await makeLoginKey(directory);
  const signingKey = await readFile(join(build, 'os-image/signing-key.asc'), 'utf8');
  const template = seedTemplate(seedIgnition(key.public), signingKey, `http://${host}/mirror`);
  const workflow = tink.createWorkflow(tink.createTemplate('install', template), { machine1: machineMac });

  const disk = await makeDisk(directory, scene.row.disk, diskBytes);
  await using machine = await startBootImage(scene, {
    kernelArguments: [
      ...[`grpc_authority=${tink.authority}`, 'tinkerbell_tls=false', `worker_id=${machineMac}`],
      ...[`docker_registry=${(await engineOfImage()) === 'podman' ? `${registryName}:5000` : registry.host}`],
      ...[`registry_username=${registry.username}`],
      ...[`registry_password=${registry.password}`, `packet_base_url=http://${host}/workflow`],
      ...[`syslog_host=${address}`, 'nibs_finish=reboot'],
    ],
    disks: [disk],
  });
  await waitForEnd(machine, scene);
  const events = tink.events(workflow).map(({ actionName, progress }) => `${actionName} ${progress}`);
  if (events.at(-1) !== 'flatcar-install SUCCESS') throw new Error(`the workflow came to ${events.join(', ')}`);
  if (machine.console.lines.some(({ text }) => /nibs: network up [^(]*\d\.\d/.test(text)))
    throw new Error('the machine has an IPv4 address');
  if (!syslog.messages.some((message) => message.includes('flatcar-install')))
    throw new Error(`syslog has nothing of the action, but ${syslog.messages.length} messages`);
  await using installed = await startInstalled(scene, disk);
  await whileItRuns(installed, scene, (limit) =>
    installed.console.waitForLine(/nibs sandbox OS: first boot is done/, { signal: limit }),
  );
  await installed[Symbol.asyncDispose]();
  await rm(disk.path);
  signal.throwIfAborted();
}

/** Router advertisements, DHCPv6 and DNS, by dnsmasq. */
async function startRouter(directory: string): Promise<AsyncDisposable> {
  // Without it the answers to neighbour solicitations say that this is no router.
  await execa('sysctl', ['-q', 'net.ipv6.conf.br0.forwarding=1']);
  const network = address.replace(/1$/, '');
  const daemon = await startDaemon({
    program: 'setpriv',
    parameters: [
      ...['--pdeathsig', 'KILL', 'dnsmasq', '--conf-file=/dev/null', '--keep-in-foreground', '--log-facility=-'],
      ...[
        '--user=root',
        '--no-resolv',
        '--no-hosts',
        `--host-record=${registryName},${address}`,
        '--interface=br0',
        '--bind-interfaces',
        '--log-dhcp',
        '--enable-ra',
        '--pid-file=',
      ],
      ...[`--dhcp-range=${network}100,${network}1ff,slaac,64,1h`, `--dhcp-option=option6:dns-server,[${address}]`],
      `--dhcp-leasefile=${join(directory, 'dnsmasq.leases')}`,
    ],
    logPath: join(directory, 'dnsmasq.log'),
    ask: async () => {
      const { stdout } = await execa('ss', ['-Hlun', 'sport = :547']);
      if (stdout === '') throw new Error('it does not listen');
    },
  });
  return { [Symbol.asyncDispose]: () => daemon.end() };
}
