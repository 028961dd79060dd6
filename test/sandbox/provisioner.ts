import { createWriteStream, type WriteStream } from 'node:fs';
import { join } from 'node:path';
import { startBootServer } from './boot-server.ts';
import { createCertificateAuthority } from './certificates.ts';
import { startDhcp } from './dhcp.ts';
import { startRegistry } from './registry.ts';
import type { SeedMachine } from './seed.ts';
import {
  onKubernetes,
  type ServerDialect,
  startTinkServer,
  type TinkEvent,
  type TinkServer,
} from './tink-server/server.ts';
import type { CreatedWorkflow, SandboxWorkflow } from './workflows/workflow.ts';

export interface ProvisionerOptions {
  /** The repository, with what was built. */
  readonly root: string;
  /** Takes logs and leases. */
  readonly directory: string;
  /**
   * Own address, already on the interface `br0` of this network namespace, beside
   * {@link internetAddress} on another.
   */
  readonly address: string;
  /** Of the tink server. */
  readonly dialect: ServerDialect;
  readonly machine: SeedMachine;
  readonly workflow: SandboxWorkflow;
}

/**
 * A provisioner with one machine and one workflow for it. A wait lasts until its signal is aborted.
 */
export interface Provisioner extends AsyncDisposable {
  /** Private key that may log in on the installed system as `core`. */
  readonly loginKeyPath: string;
  /** Looks at the disk before its first boot, where the workflow has something to look at. */
  readonly checkDisk: CreatedWorkflow['checkDisk'];
  /** What was reported of the workflow, oldest first. */
  events(): readonly TinkEvent[];
  /** Until the machine has loaded this file, named as at the end of its URL. */
  waitForDownload(file: string, signal: AbortSignal): Promise<void>;
  /**
   * How often a machine has started by way of its firmware: each time it asks for the boot script.
   */
  boots(): number;
  /** Until a machine has started for the n-th time. */
  waitForBoot(count: number, signal: AbortSignal): Promise<void>;
  /** Until an agent has asked for work. */
  waitForPoll(signal: AbortSignal): Promise<void>;
  /**
   * Until the action has succeeded. Rejects at once when it failed, with the reason that the agent
   * gave.
   */
  waitForSuccess(action: string, signal: AbortSignal): Promise<void>;
}

const scriptPath = '/auto.ipxe';

/**
 * Brings up what the sandbox of the original brings up, on the addresses and ports it has there:
 * registry (443), tink server (42113, 42114), DHCP and TFTP, and one HTTP server (80) for boot
 * script, boot image, the registry's authority and what the workflow needs; DNS too. Then does what
 * a person does: pushes the images of the actions and the hardware, creates template and workflow.
 */
export async function startProvisioner(options: ProvisionerOptions): Promise<Provisioner> {
  const { address, directory, machine } = options;
  await using started = new AsyncDisposableStack();
  const log = started.adopt(createWriteStream(join(directory, 'provisioner.log')), endLog);
  const milestones = new Milestones();

  const authority = await createCertificateAuthority('sandbox');
  const registry = started.use(await startRegistry({ address, port: 443, authority }));
  const tink = started.use(
    // On Kubernetes the worker trusts the authorities of its system, which a sandbox has none of:
    // there it speaks plaintext.
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
  const { root } = options;
  const workflow = await options.workflow.create({
    root,
    directory,
    address,
    machine,
    authority,
    registry,
    tink,
    started,
  });
  started.use(tink.subscribe((event) => log.write(`${JSON.stringify(event)}\n`)));

  let boots = 0;
  const bootServer = await startBootServer({
    address,
    port: 80,
    files: { ...bootFiles(root), ...workflow.files },
    texts: {
      '/workflow/ca.pem': () => authority.certificate,
      [scriptPath]: () => bootScript(options, workflow, tink),
    },
    onRequest: ({ path, status, client }) => {
      log.write(`${client} ${path} ${status}\n`);
      if (path === scriptPath) milestones.reach(`boot ${++boots}`);
      if (status < 300) milestones.reach(path.slice(path.lastIndexOf('/') + 1));
    },
  });
  started.use(bootServer);
  const scriptUrl = `http://${address}${scriptPath}`;
  const [leases, { names }] = [[machine], workflow];
  const netmask = '255.255.255.248';
  started.use(await startDhcp({ directory, interface: 'br0', address, netmask, leases, scriptUrl, names }));

  const running = started.move();
  return {
    loginKeyPath: workflow.loginKeyPath,
    checkDisk: workflow.checkDisk,
    events: () => tink.events(workflow.id),
    waitForDownload: (file, signal) => milestones.wait(file, signal),
    boots: () => boots,
    waitForBoot: (count, signal) => milestones.wait(`boot ${count}`, signal),
    waitForPoll: (signal) => milestones.wait('poll', signal),
    waitForSuccess: (action, signal) => waitForSuccess(tink, workflow.id, action, signal),
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

/**
 * On Kubernetes a worker is who the template says; before, the UUID of the hardware that has the
 * address in the template.
 */
function workerId({ dialect }: TinkServer, { id, mac }: SeedMachine): string {
  return onKubernetes(dialect) ? mac : id;
}

function bootFiles(root: string): Record<string, string> {
  return {
    '/misc/osie/current/vmlinuz-x86_64': join(root, 'build/vmlinuz-x86_64'),
    '/misc/osie/current/initramfs-x86_64': join(root, 'build/initramfs-x86_64'),
  };
}

/**
 * What boots of the original sends to a machine with a workflow, and to one without: that goes on
 * to its next boot device.
 */
function bootScript(
  { address, machine, workflow }: ProvisionerOptions,
  created: CreatedWorkflow,
  tink: TinkServer,
): string {
  // UEFI shows its menu after a program that ended well; after a failed one it tries the next
  // device, as a BIOS always does.
  if (isOver(tink, created.id, workflow)) return '#!ipxe\nexit 1\n';
  const netX = '$' + '{netX/mac}'; // iPXE's own variable: the card it booted from
  const parameters = [
    ...['ip=dhcp', 'modules=loop,squashfs,sd-mod,usb-storage', `tinkerbell=http://${address}`, 'parch=x86_64'],
    ...['packet_action=workflow', 'packet_state=', `grpc_authority=${address}:42113`],
    tink.tls ? `grpc_cert_url=${tink.certificateUrl}` : 'tinkerbell_tls=false',
    `worker_id=${workerId(tink, machine)}`,
    ...[`packet_bootdev_mac=${netX}`, 'facility=onprem', 'initrd=initramfs-x86_64'],
    ...['console=tty0', 'console=ttyS0,115200'],
    ...created.kernelArguments,
  ];
  return `#!ipxe
set base-url http://${address}/misc/osie/current
kernel \${base-url}/vmlinuz-x86_64 ${parameters.join(' ')}
initrd \${base-url}/initramfs-x86_64
boot
`;
}

function isOver(tink: TinkServer, workflowId: string, { actions }: SandboxWorkflow): boolean {
  const last = actions.at(-1) ?? '';
  return tink.events(workflowId).some((event) => succeeded(event, last));
}

async function waitForSuccess(
  tink: TinkServer,
  workflowId: string,
  action: string,
  signal: AbortSignal,
): Promise<void> {
  const events = await tink.waitFor(
    workflowId,
    (seen) =>
      seen.some((event) => event.progress === 'FAILED' || event.progress === 'TIMEOUT' || succeeded(event, action)),
    Number.POSITIVE_INFINITY,
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

  async wait(name: string, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const stopped = Promise.withResolvers<never>();
    const stop = () => stopped.reject(signal.reason);
    signal.addEventListener('abort', stop, { once: true });
    try {
      await Promise.race([this.#get(name).promise, stopped.promise]);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  }

  #get(name: string): PromiseWithResolvers<void> {
    const known = this.#reached.get(name) ?? Promise.withResolvers<void>();
    this.#reached.set(name, known);
    return known;
  }
}
