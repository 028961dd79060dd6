import { createWriteStream } from 'node:fs';
import { join } from 'node:path';
import { type BootServerOptions, startBootServer } from '../sandbox/boot-server.ts';
import { type DhcpOptions, startDhcp } from '../sandbox/dhcp.ts';
import { hardwareJson, MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { startTinkServer, type TinkEvent } from '../sandbox/tink-server/server.ts';

/** The provisioner's address, on `br0` of the network namespace. */
export const siteAddress = '192.168.1.1';

export const machineMac = '08:00:27:00:00:01';

/** What DHCP gives it. */
export const machineAddress = '192.168.1.5';

/** What the machine needs to find the tink server, as smee and boots give it, and a shell. */
export const machineArguments = [
  `grpc_authority=${siteAddress}:42113`,
  ...['tinkerbell_tls=false', `worker_id=${machineMac}`, 'nibs_shell', 'console=tty0', 'console=ttyS0,115200'],
].join(' ');

/** What a way of booting needs of the servers. */
export interface ServedFiles
  extends Pick<DhcpOptions, 'uefiFile' | 'httpBootUrl' | 'tftpFiles' | 'ipxeFiles' | 'optionsAs'> {
  /** By HTTP on port 80. */
  readonly http: BootServerOptions['files'];
  /** The script for iPXE. Default: it gives up. */
  readonly ipxeScript?: string;
  /** Of the tink server; `v0.1` has TLS and its certificate on port 42114. Default: `v0.9`. */
  readonly tinkDialect?: 'v0.1' | 'v0.9' | 'current';
}

/** An action of the workflow for the machine. */
export interface SiteAction {
  readonly image: string;
  readonly volumes: readonly string[];
  readonly command: readonly string[];
}

/** The servers for one machine. */
export interface Site extends AsyncDisposable {
  /** Until the server has the success of all actions. */
  waitForSuccess(signal: AbortSignal): Promise<void>;
  /** Until an agent asks for work. */
  waitForPoll(signal: AbortSignal): Promise<void>;
}

/**
 * Starts tink server, DHCP, TFTP and HTTP for one machine, in the network namespace of this
 * process.
 * @param directory takes logs
 */
export async function startSite(
  directory: string,
  served: ServedFiles,
  actions: readonly SiteAction[] = [],
): Promise<Site> {
  await using started = new AsyncDisposableStack();
  const log = createWriteStream(join(directory, 'site.log'));
  started.adopt(log, () => new Promise<void>((resolve) => log.end(resolve)));
  const polled = Promise.withResolvers<void>();
  const tink = started.use(
    await startTinkServer({
      ...{ dialect: served.tinkDialect ?? 'v0.9', address: siteAddress, grpcPort: 42113, httpPort: 42114 },
      tls: served.tinkDialect === 'v0.1',
    }),
  );
  const workerId = served.tinkDialect === 'v0.1' ? tink.pushHardware(hardwareJson(MACHINE_ONE)) : machineMac;
  const workflow =
    actions.length === 0
      ? undefined
      : tink.createWorkflow(tink.createTemplate('example', templateOf(actions)), { machine1: machineMac });
  tink.interfere = (rpc, request) => {
    log.write(`${rpc} ${JSON.stringify(request)}\n`);
    if (JSON.stringify(request).includes(workerId)) polled.resolve();
    return undefined;
  };
  const { http, ipxeScript = 'exit 1', tinkDialect: _, ...dhcp } = served;
  started.use(
    await startBootServer({
      address: siteAddress,
      port: 80,
      files: http,
      texts: { '/auto.ipxe': () => `#!ipxe\n${ipxeScript}\n` },
      onRequest: ({ path, status }) => void log.write(`${path} ${status}\n`),
    }),
  );
  started.use(
    await startDhcp({
      ...{ directory, interface: 'br0', address: siteAddress, netmask: '255.255.255.248', names: {} },
      leases: [{ mac: machineMac, address: machineAddress }],
      scriptUrl: `http://${siteAddress}/auto.ipxe`,
      ...dhcp,
    }),
  );
  const running = started.move();
  return {
    async waitForSuccess(signal) {
      if (workflow === undefined) throw new Error('there is no action');
      const endsOf = (events: readonly TinkEvent[]) => events.filter(({ status }) => status !== 'STATE_RUNNING');
      const isFailed = ({ status }: TinkEvent) => status !== 'STATE_SUCCESS';
      const isOver = (events: readonly TinkEvent[]) =>
        endsOf(events).some(isFailed) || endsOf(events).length === actions.length;
      const ends = endsOf(await tink.waitFor(workflow, isOver, Infinity, signal));
      if (ends.some(isFailed)) throw new Error(`the action ended with ${JSON.stringify(ends.find(isFailed))}`);
    },
    async waitForPoll(signal) {
      const stopped = Promise.withResolvers<never>();
      signal.addEventListener('abort', () => stopped.reject(signal.reason), { once: true });
      await Promise.race([polled.promise, stopped.promise]);
    },
    [Symbol.asyncDispose]: () => running.disposeAsync(),
  };
}

function templateOf(given: readonly SiteAction[]): string {
  const actions = given.map((action, index) => ({ name: `check ${index + 1}`, timeout: 600, ...action }));
  const tasks = [{ name: 'provision', worker: '{{.machine1}}', actions }];
  return JSON.stringify({ version: '0.1', name: 'example', global_timeout: 3600, tasks });
}
