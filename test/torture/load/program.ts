/** The agent as a program, with a real engine and a real registry, on one workflow. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeOptions } from '../../../executable/node-options.ts';
import type { AgentProcess, AgentProcessOptions } from '../../sandbox/agent-under-test/agent-process.ts';
import { enrol } from '../../sandbox/agent-under-test/enrol.ts';
import { startSharedEngine } from '../../sandbox/agent-under-test/shared-engine.ts';
import { busyboxImage } from '../../sandbox/busybox-image.ts';
import { startContainerd } from '../../sandbox/containerd.ts';
import { startRegistry } from '../../sandbox/registry.ts';
import { MACHINE_ONE } from '../../sandbox/tink-server/example.ts';
import {
  type ServerDialect,
  startTinkServer,
  type TinkEvent,
  type TinkServer,
} from '../../sandbox/tink-server/server.ts';
import { startAgentProgram } from '../agent-program.ts';

export const engineKinds = ['docker', 'containerd'] as const;
export type EngineKind = (typeof engineKinds)[number];

/** A shell script in a container. */
export interface Script {
  readonly name: string;
  readonly script: string;
}

export interface ProgramOptions {
  readonly engine: EngineKind;
  readonly dialect: ServerDialect;
  readonly read: NonNullable<AgentProcessOptions['read']>;
}

export interface Program extends AsyncDisposable {
  readonly server: TinkServer;
  readonly agent: AgentProcess;
  createWorkflow(actions: readonly Script[]): string;
}

export async function startProgram({ engine, dialect, read }: ProgramOptions): Promise<Program> {
  await using opened = new AsyncDisposableStack();
  const directory = await mkdtemp(join(tmpdir(), 'nibs-load-'));
  opened.defer(() => rm(directory, { recursive: true, force: true }));
  const { registry, host, flags } = await startEngineOf(engine, directory, opened);
  const server = opened.use(await startTinkServer({ dialect }));
  const agent = opened.use(
    await startAgentProgram({ directory, worker: enrol(server), engine: host, registry, nodeOptions, flags, read }),
  );
  const toClose = opened.move();
  return {
    ...{ server, agent },
    createWorkflow(actions) {
      const template = server.createTemplate('load', templateOf(actions));
      return server.createWorkflow(template, { one: MACHINE_ONE.mac });
    },
    [Symbol.asyncDispose]: () => toClose.disposeAsync(),
  };
}

async function startEngineOf(engine: EngineKind, directory: string, opened: AsyncDisposableStack) {
  if (engine === 'docker') {
    const shared = opened.use(await startSharedEngine());
    return { registry: shared.registry, host: shared.engine.host, flags: [] };
  }
  const registry = opened.use(await startRegistry({ password: 'canary-of-the-registry' }));
  await registry.push('busybox', await busyboxImage());
  const containerd = opened.use(await startContainerd());
  const flags = [
    ...['--runtime=containerd', `--containerd-socket=${containerd.socketPath}`, '--containerd-namespace=tinkerbell'],
    ...[`--containerd-data-root=${join(directory, 'data')}`, '--network=host'],
  ];
  return { registry, host: join(directory, 'no-docker.sock'), flags };
}

function templateOf(actions: readonly Script[]): string {
  const task = {
    ...{ name: 'task', worker: '{{.one}}' },
    actions: actions.map(({ name, script }) => ({
      ...{ name, image: 'busybox', timeout: 7200, command: ['sh', '-c', script] },
    })),
  };
  return JSON.stringify({ version: '0.1', name: 'load', global_timeout: 100_000, tasks: [task] });
}

/** Without a report, or a byte of output. */
const stallSeconds = 300;

/**
 * Waits for the end of a workflow for as long as there is progress.
 *
 * @param progress called with a function that is to be called at each progress beside the reports
 * @returns its reports; fewer than it has to have if there was no progress for five minutes
 */
export async function untilOver(
  { server, agent }: Program,
  workflow: string,
  reports: number,
  progress: (onProgress: () => void) => void = () => {},
): Promise<readonly TinkEvent[]> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const timer = setTimeout(resolve, stallSeconds * 1000);
  const check = () => {
    timer.refresh();
    const events = server.events(workflow);
    const progressOfLast = events.at(-1)?.progress;
    if (events.length >= reports || progressOfLast === 'FAILED' || progressOfLast === 'TIMEOUT') resolve();
  };
  using _ = server.subscribe(check);
  progress(() => timer.refresh());
  agent.process.once('exit', resolve);
  check();
  await promise;
  clearTimeout(timer);
  agent.process.off('exit', resolve);
  return server.events(workflow);
}
