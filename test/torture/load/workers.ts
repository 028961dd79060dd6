/**
 * Part `workers`: many workers against one server, in real time, as fast as the machine allows.
 * Real: the loop, the journal, the transport, gRPC over sockets; the workers are in this process,
 * and their actions end at once. The server restarts amid the actions. No report may be lost or
 * doubled.
 */
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentMachine } from '../../sandbox/agent-under-test/agent-machine.ts';
import { enrol } from '../../sandbox/agent-under-test/enrol.ts';
import { MACHINE_ONE, templateOf } from '../../sandbox/tink-server/example.ts';
import { startTinkServer, type TinkServer } from '../../sandbox/tink-server/server.ts';
import { reportsViolation } from './reports.ts';
import { type Request, type Spread, spreadOf } from './requests.ts';
import { macsOf } from './spread.ts';

export interface WorkersOptions {
  readonly workers: number;
  readonly actions: number;
  /** How long the server is away, amid the actions. */
  readonly awaySeconds: number;
  /** Default: that of the agent. */
  readonly pollSeconds?: number | undefined;
}

export interface WorkersResult {
  /** Of all requests, from the first workflow to the last report. */
  readonly work: Spread;
  readonly reports: number;
  readonly violations: readonly string[];
  /** Of this process, which is the server too. */
  readonly cpuSeconds: number;
  readonly maxRssBytes: number;
  readonly openFiles: number;
}

const stallSeconds = 300;

export async function runWorkers(options: WorkersOptions): Promise<WorkersResult> {
  const { workers, actions, awaySeconds, pollSeconds = 3 } = options;
  await using stack = new AsyncDisposableStack();
  // As in the boot image: the journals of a thousand machines are not on one disk.
  const directory = await mkdtemp('/dev/shm/nibs-load-');
  stack.defer(() => rm(directory, { recursive: true }));
  const server = stack.use(await startTinkServer({ dialect: 'v0.9' }));
  const requests: Request[] = [];
  const now = () => performance.now() / 1000;
  stack.use(
    server.subscribeToCalls((_, request) => {
      const { workerId: worker = '' } = request as { readonly workerId?: string };
      requests.push({ atSeconds: now(), worker });
    }),
  );
  const macs = macsOf(workers);
  const polled = untilPolled(server, workers);
  const machines = macs.map((mac) => {
    const worker = { ...enrol(server, { ...MACHINE_ONE, mac }), rpcTimeoutSeconds: 20 };
    const settings = { directory: join(directory, mac), pollSeconds, maxBackoffSeconds: 15 };
    return stack.use(AgentMachine.forServer(worker, settings));
  });
  await Promise.all(machines.map((machine) => machine.start()));
  await polled;
  const openFiles = (await readdir('/proc/self/fd')).length;

  const names = Array.from({ length: actions }, (_, index) => `action-${index}`);
  const template = server.createTemplate('load', templateOf(['task', 'one', names]));
  const [from, cpu] = [now(), process.cpuUsage()];
  const total = workers * actions * 2;
  using progress = countReports(server);
  const workflows = macs.map((mac) => server.createWorkflow(template, { one: mac }));
  await progress.until(Math.floor(total / 2));
  await server.stop();
  await sleep(awaySeconds * 1000);
  await server.start();
  await progress.until(total);
  const work = spreadOf(requests, from, now());
  const { user, system } = process.cpuUsage(cpu);
  // One that came twice would come at the next poll.
  await untilPolled(server, workers);
  const violations = workflows.flatMap((id) => {
    const wrong = reportsViolation(server.events(id), names);
    return wrong === undefined ? [] : [`${id}: ${wrong}`];
  });
  const { maxRSS } = process.resourceUsage();
  return {
    ...{ work, reports: progress.count, violations, openFiles },
    ...{ cpuSeconds: (user + system) / 1e6, maxRssBytes: maxRSS * 1024 },
  };
}

/**
 * Resolves when each worker has asked for work from now on.
 *
 * @throws {Error} for a long time no worker has that had not before
 */
async function untilPolled(server: TinkServer, workers: number): Promise<void> {
  const seen = new Set<string>();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const stalled = () => reject(new Error(`${workers - seen.size} of ${workers} workers do not poll`));
  const timer = setTimeout(stalled, stallSeconds * 1000);
  using _ = server.subscribeToCalls((rpc, request) => {
    const { workerId } = request as { readonly workerId: string };
    if (rpc !== 'GetWorkflowContexts' || seen.has(workerId)) return;
    seen.add(workerId);
    timer.refresh();
    if (seen.size === workers) resolve();
  });
  await promise.finally(() => clearTimeout(timer));
}

/** Counts the reports that a server records from now on. */
function countReports(server: TinkServer) {
  let count = 0;
  let onReport = () => {};
  const subscription = server.subscribe(() => {
    count += 1;
    onReport();
  });
  return {
    get count() {
      return count;
    },
    /** Resolves when there are so many, and when there has been none for a long time. */
    async until(wanted: number): Promise<void> {
      const { promise, resolve } = Promise.withResolvers<void>();
      const timer = setTimeout(resolve, stallSeconds * 1000);
      onReport = () => {
        if (count >= wanted) resolve();
        else timer.refresh();
      };
      onReport();
      await promise;
      clearTimeout(timer);
    },
    [Symbol.dispose]: () => subscription[Symbol.dispose](),
  };
}
