import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import type { TestContext } from 'node:test';
import { busyboxImage } from '../sandbox/busybox-image.ts';
import { type Engine, startEngine } from '../sandbox/engine.ts';
import { type Registry, startRegistry } from '../sandbox/registry.ts';
import { hardwareJson, MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { startTinkServer, type TinkServer } from '../sandbox/tink-server/server.ts';

/** The executable's entry, for `node`. */
export const program = join(import.meta.dirname, '../../executable/main.ts');

/** Must never be seen in any output. */
const password = 'canary-of-the-registry';

/** A private engine and a registry with the image `busybox`, for all sites of a test file. */
export interface Hall extends AsyncDisposable {
  readonly engine: Engine;
  readonly registry: Registry;
}

export async function startHall(): Promise<Hall> {
  const [engine, registry] = await Promise.all([startEngine(), startRegistry({ password })]);
  await registry.push('busybox', await busyboxImage());
  return {
    engine,
    registry,
    async [Symbol.asyncDispose]() {
      // A container whose removal an agent has just asked for cannot be removed by the engine's own end (409).
      await until(async () => (await removeContainers(engine)) === 0);
      await Promise.all([engine[Symbol.asyncDispose](), registry[Symbol.asyncDispose]()]);
    },
  };
}

/** Asks for the removal of all containers; returns how many there were. */
async function removeContainers({ docker }: Engine): Promise<number> {
  const containers = await docker.listContainers({ all: true });
  await Promise.allSettled(containers.map(({ Id }) => docker.getContainer(Id).remove({ force: true, v: true })));
  return containers.length;
}

export interface ActionText {
  readonly name: string;
  readonly script: string;
  readonly image?: string;
  readonly timeoutSeconds?: number;
}

/** A provisioner with one machine, whose files are in a directory of its own. */
export interface Site {
  readonly server: TinkServer;
  readonly directory: string;
  /** Appended to by actions and by the reboot command: what was done on the machine, in order. */
  done(): Promise<string[]>;
  createWorkflow(actions: readonly ActionText[]): string;
  /** @param read what becomes of standard output. Default: its lines are kept. */
  start(flags?: readonly string[], environment?: Readonly<Record<string, string>>, read?: ReadOutput): Agent;
}

/** Reads the standard output of an agent, or does not. */
export type ReadOutput = (stdout: Readable) => void;

/** An agent's process. */
export interface Agent {
  readonly process: ChildProcess;
  readonly output: string[];
  /** Resolves when a line of its output matches. */
  said(pattern: RegExp): Promise<void>;
  /** Ends it, and waits for that. @returns its exit code, `null` after SIGKILL. */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

export async function makeSite(test: TestContext, hall: Hall): Promise<Site> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-main-'));
  const server = await startTinkServer();
  server.pushHardware(hardwareJson(MACHINE_ONE));
  const agents: Agent[] = [];
  test.after(async () => {
    for (const agent of agents) await agent.end('SIGKILL');
    await server.stop();
    await rm(directory, { recursive: true });
  });
  await writeFile(
    join(directory, 'cmdline'),
    `quiet worker_id=${MACHINE_ONE.id} grpc_authority=${server.authority} grpc_cert_url=${server.certificateUrl}\n`,
  );
  await writeFile(join(directory, 'reboot'), `#!/bin/sh\necho reboot >> ${directory}/done\n`, { mode: 0o755 });
  return {
    server,
    directory,
    async done() {
      const text = await readFile(join(directory, 'done'), 'utf8').catch(() => '');
      return text.split('\n').filter((line) => line !== '');
    },
    createWorkflow(actions) {
      const template = server.createTemplate('example', templateOf(directory, actions));
      return server.createWorkflow(template, { machine1: MACHINE_ONE.mac });
    },
    start(flags = [], environment = {}, read) {
      const agent = startAgent(hall, directory, flags, environment, read);
      agents.push(agent);
      return agent;
    },
  };
}

/** YAML of a template whose actions are shell scripts that see the site's directory as /site. */
function templateOf(directory: string, actions: readonly ActionText[]): string {
  return JSON.stringify({
    version: '0.1',
    name: 'example',
    global_timeout: 600,
    tasks: [
      {
        name: 'provision',
        worker: '{{.machine1}}',
        volumes: [`${directory}:/site`],
        actions: actions.map(({ name, script, image = 'busybox', timeoutSeconds = 60 }) => ({
          name,
          image,
          timeout: timeoutSeconds,
          command: ['sh', '-c', script],
        })),
      },
    ],
  });
}

function startAgent(
  { engine, registry }: Hall,
  directory: string,
  flags: readonly string[],
  environment: Readonly<Record<string, string>>,
  read: ReadOutput | undefined,
): Agent {
  const settings = [
    '--retry-interval=200ms',
    '--backoff-max-interval=500ms',
    '--privileged=false',
    `--reboot-command=${directory}/reboot`,
  ];
  const child = spawn(process.execPath, [program, 'tink-worker', ...settings, ...flags], {
    env: {
      PATH: process.env['PATH'] ?? '',
      NIBS_KERNEL_COMMAND_LINE: join(directory, 'cmdline'),
      NIBS_STATE_DIRECTORY: join(directory, 'state'),
      NIBS_WORK_DIRECTORY: join(directory, 'worker'),
      NIBS_LOG_FORMAT: 'text',
      DOCKER_HOST: engine.host,
      DOCKER_REGISTRY: registry.host,
      REGISTRY_USERNAME: registry.username,
      REGISTRY_PASSWORD: registry.password,
      ...environment,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const ended = once(child, 'exit');
  const output: string[] = [];
  const news = new EventTarget();
  read?.(child.stdout);
  for (const stream of read ? [child.stderr] : [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      output.push(line);
      news.dispatchEvent(new Event('line'));
    });
  }
  return {
    process: child,
    output,
    async said(pattern) {
      const deadline = AbortSignal.timeout(60_000);
      while (!output.some((line) => pattern.test(line))) {
        await Promise.race([
          once(news, 'line', { signal: deadline }),
          ended.then(() => assert.fail(`the agent ended without saying ${pattern}:\n${output.join('\n')}`)),
        ]).catch((error: unknown) => {
          assert.ok(!deadline.aborted, `the agent did not say ${pattern}:\n${output.join('\n')}`);
          throw error;
        });
      }
    },
    async end(signal) {
      child.kill(signal);
      await ended;
      return child.exitCode;
    },
  };
}

/** The events of a workflow as `tink workflow events` lists them. */
export function eventsOf({ server }: Site, workflowId: string): string[] {
  return server.events(workflowId).map(({ actionName, status }) => `${actionName} ${status}`);
}

/** Waits until the server has recorded this of an action, and returns the message that came with it. */
export async function ended(
  { server }: Site,
  workflowId: string,
  status: string,
  actionName: string,
  seconds = 60,
): Promise<string> {
  const events = await server.waitFor(
    workflowId,
    (events) => events.some((event) => event.status === status && event.actionName === actionName),
    seconds,
  );
  return events.find((event) => event.status === status && event.actionName === actionName)?.message ?? '';
}

/** Waits for what has no event of its own: asks every 50 ms. @throws after 30 s */
export async function until(condition: () => Promise<boolean>): Promise<void> {
  for (const deadline = performance.now() + 30_000; !(await condition()); ) {
    assert.ok(performance.now() < deadline, 'waited in vain');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
