import { createWriteStream, type WriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { startBootServer } from './boot-server.ts';
import { createCertificateAuthority } from './certificates.ts';
import { startDhcp } from './dhcp.ts';
import { readOciArchive } from './oci-archive.ts';
import { startRegistry } from './registry.ts';
import { type SeedMachine, seedHardware, seedIgnition, seedTemplate } from './seed.ts';
import {
  onKubernetes,
  type ServerDialect,
  startTinkServer,
  type TinkEvent,
  type TinkServer,
} from './tink-server/server.ts';

export interface ProvisionerOptions {
  /** The repository, with what was built. */
  readonly root: string;
  /** Takes logs and leases. */
  readonly directory: string;
  /** Own address, already on the interface `br0` of this network namespace. */
  readonly address: string;
  /** Of the tink server. */
  readonly dialect: ServerDialect;
  readonly machine: SeedMachine;
  /** Public key that may log in on the installed system. */
  readonly authorizedKey: string;
  /** How the machine gets to the installed system: through its firmware, or from the boot image's kernel. */
  readonly finish: 'reboot' | 'kexec';
}

/** How long one waits. */
export interface WaitLimits {
  readonly timeoutSeconds: number;
  /** Ends the wait with its reason. */
  readonly signal: AbortSignal;
}

/** A provisioner with one machine and one workflow for it. */
export interface Provisioner extends AsyncDisposable {
  /** Names of the workflow's actions, in order. */
  readonly actions: readonly string[];
  /** What was reported of the workflow, oldest first. */
  events(): readonly TinkEvent[];
  /** Until the machine has loaded this file, named as at the end of its URL. */
  waitForDownload(file: string, limits: WaitLimits): Promise<void>;
  /** Until an agent has asked for work. */
  waitForPoll(limits: WaitLimits): Promise<void>;
  /** Until the action has succeeded. Rejects at once when it failed, with the reason that the agent gave. */
  waitForSuccess(action: string, limits: WaitLimits): Promise<void>;
}

const actions = ['dump-ignition', 'dump-signing-key', 'flatcar-install'];

/**
 * Brings up what the sandbox of the original brings up, on the addresses and ports it has there: registry (443), tink server (42113, 42114), DHCP and TFTP, and one
 * HTTP server (80) for boot script, boot image, the registry's authority and the mirror of the operating system. Then does what a person does: pushes the action's
 * image and the hardware, creates template and workflow.
 */
export async function startProvisioner(options: ProvisionerOptions): Promise<Provisioner> {
  const { address, directory, machine } = options;
  await using started = new AsyncDisposableStack();
  const log = started.adopt(createWriteStream(join(directory, 'provisioner.log')), endLog);
  const milestones = new Milestones();

  const authority = await createCertificateAuthority('sandbox');
  const registry = started.use(await startRegistry({ address, port: 443, authority }));
  await registry.push('flatcar-install', await readOciArchive(join(options.root, 'build/flatcar-install.oci.tar')));

  const tink = started.use(
    // On Kubernetes the worker trusts the authorities of its system, which a sandbox has none of: there it speaks plaintext.
    await startTinkServer({
      dialect: options.dialect,
      address,
      grpcPort: 42113,
      httpPort: 42114,
      tls: !onKubernetes(options.dialect),
    }),
  );
  tink.interfere = (rpc) => {
    if (rpc === 'GetWorkflowContexts' || rpc === 'GetAction') milestones.reach('poll');
    return undefined;
  };
  const workflowId = await createWorkflow(options, tink);
  started.use(tink.subscribe((event) => log.write(`${JSON.stringify(event)}\n`)));

  const bootServer = await startBootServer({
    address,
    port: 80,
    files: bootFiles(options.root),
    texts: {
      '/workflow/ca.pem': () => authority.certificate,
      '/auto.ipxe': () => bootScript(options, registry, tink, isOver(tink, workflowId)),
    },
    onRequest: ({ path, status, client }) => {
      log.write(`${client} ${path} ${status}\n`);
      if (status < 300) milestones.reach(path.slice(path.lastIndexOf('/') + 1));
    },
  });
  started.use(bootServer);
  const scriptUrl = `http://${address}/auto.ipxe`;
  const leases = [machine];
  started.use(await startDhcp({ directory, interface: 'br0', address, netmask: '255.255.255.248', leases, scriptUrl }));

  const running = started.move();
  return {
    actions,
    events: () => tink.events(workflowId),
    waitForDownload: (file, limits) => milestones.wait(file, limits),
    waitForPoll: (limits) => milestones.wait('poll', limits),
    waitForSuccess: (action, limits) => waitForSuccess(tink, workflowId, action, limits),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

async function createWorkflow(options: ProvisionerOptions, tink: TinkServer): Promise<string> {
  const signingKey = await readFile(join(options.root, 'build/os-image/signing-key.asc'), 'utf8');
  const yaml = seedTemplate(seedIgnition(options.authorizedKey), signingKey, `http://${options.address}/mirror`);
  // Current agents take images as they are named.
  const template = options.dialect === 'current' ? yaml.replaceAll('image: ', `image: ${options.address}/`) : yaml;
  if (!onKubernetes(options.dialect)) tink.pushHardware(seedHardware(options.machine, options.address));
  return tink.createWorkflow(tink.createTemplate('flatcar-install', template), { machine1: options.machine.mac });
}

/** On Kubernetes a worker is who the template says; before, the UUID of the hardware that has the address in the template. */
function workerId({ dialect }: TinkServer, { id, mac }: SeedMachine): string {
  return onKubernetes(dialect) ? mac : id;
}

function bootFiles(root: string): Record<string, string> {
  return {
    '/misc/osie/current/vmlinuz-x86_64': join(root, 'build/vmlinuz-x86_64'),
    '/misc/osie/current/initramfs-x86_64': join(root, 'build/initramfs-x86_64'),
    '/mirror/': join(root, 'build/os-image/mirror'),
  };
}

/** The kernel of the installed system and its command line are what the system's own boot loader uses (test/sandbox/os-image/files/esp/grub/grub.cfg). */
const finishParameters = {
  reboot: ['nibs_finish=reboot'],
  kexec: [
    ...['nibs_finish=kexec', 'nibs_kexec_device=LABEL=EFI-SYSTEM'],
    ...['nibs_kexec_kernel=/vmlinuz', 'nibs_kexec_initrd=/initramfs'],
    'nibs_kexec_cmdline="root=LABEL=ROOT ignition.platform.id=metal ignition.firstboot console=tty0 console=ttyS0,115200 quiet"',
  ],
};

/** What boots of the original sends to a machine with a workflow, and to one without: that goes on to its next boot device. */
function bootScript(
  { address, machine, finish }: ProvisionerOptions,
  registry: { readonly username: string; readonly password: string },
  tink: TinkServer,
  over: boolean,
): string {
  // UEFI shows its menu after a program that ended well; after a failed one it tries the next device, as a BIOS always does.
  if (over) return '#!ipxe\nexit 1\n';
  const netX = '$' + '{netX/mac}'; // iPXE's own variable: the card it booted from
  const parameters = [
    ...['ip=dhcp', 'modules=loop,squashfs,sd-mod,usb-storage', `tinkerbell=http://${address}`, 'parch=x86_64'],
    ...['packet_action=workflow', 'packet_state=', `docker_registry=${address}`, `grpc_authority=${address}:42113`],
    tink.tls ? `grpc_cert_url=${tink.certificateUrl}` : 'tinkerbell_tls=false',
    ...[`registry_username=${registry.username}`, `registry_password=${registry.password}`],
    ...[`packet_base_url=http://${address}/workflow`, `worker_id=${workerId(tink, machine)}`],
    ...[
      `packet_bootdev_mac=${netX}`,
      'facility=onprem',
      'initrd=initramfs-x86_64',
      'console=tty0',
      'console=ttyS0,115200',
    ],
    ...finishParameters[finish],
  ];
  return `#!ipxe
set base-url http://${address}/misc/osie/current
kernel \${base-url}/vmlinuz-x86_64 ${parameters.join(' ')}
initrd \${base-url}/initramfs-x86_64
boot
`;
}

function isOver(tink: TinkServer, workflowId: string): boolean {
  return tink
    .events(workflowId)
    .some(({ actionName, progress }) => actionName === actions.at(-1) && progress === 'SUCCESS');
}

async function waitForSuccess(
  tink: TinkServer,
  workflowId: string,
  action: string,
  { timeoutSeconds, signal }: WaitLimits,
): Promise<void> {
  const events = await tink.waitFor(
    workflowId,
    (seen) =>
      seen.some((event) => event.progress === 'FAILED' || event.progress === 'TIMEOUT' || succeeded(event, action)),
    timeoutSeconds,
    signal,
  );
  if (events.some((event) => succeeded(event, action))) return;
  const last = events.at(-1);
  throw new Error(`action ${last?.actionName} ended with ${last?.status}: ${last?.message}`);
}

function succeeded(event: TinkEvent, action: string): boolean {
  return event.actionName === action && event.progress === 'SUCCESS';
}

function endLog(log: WriteStream): Promise<void> {
  return new Promise((resolve) => log.end(resolve));
}

/** Things that happen once and can be waited for, before or after they did. */
class Milestones {
  readonly #reached = new Map<string, PromiseWithResolvers<void>>();

  reach(name: string): void {
    this.#get(name).resolve();
  }

  async wait(name: string, { timeoutSeconds, signal }: WaitLimits): Promise<void> {
    signal.throwIfAborted();
    const stopped = Promise.withResolvers<never>();
    const timer = setTimeout(
      () => stopped.reject(new Error(`no ${name} in ${timeoutSeconds} s`)),
      timeoutSeconds * 1000,
    );
    const stop = () => stopped.reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    try {
      await Promise.race([this.#get(name).promise, stopped.promise]);
    } finally {
      clearTimeout(timer);
      signal.removeEventListener('abort', stop);
    }
  }

  #get(name: string): PromiseWithResolvers<void> {
    const known = this.#reached.get(name) ?? Promise.withResolvers<void>();
    this.#reached.set(name, known);
    return known;
  }
}
