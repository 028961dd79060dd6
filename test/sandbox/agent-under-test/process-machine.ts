import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { patienceSeconds } from '../patience.ts';
import { MACHINE_ONE } from '../tink-server/example.ts';
import { startTinkServer, type TinkServer } from '../tink-server/server.ts';
import { type AgentProcess, type AgentProcessOptions, startAgentProcess } from './agent-process.ts';
import { enrol } from './enrol.ts';
import type { SharedEngine } from './shared-engine.ts';

/** A shell script in a container. */
export interface ScriptAction {
  readonly name: string;
  readonly script: string;
  /** Default: `busybox`. */
  readonly image?: string;
  /** Default: 60. */
  readonly timeoutSeconds?: number;
}

/**
 * A machine on which agents run as programs, one after another, with settings, a real engine and a
 * real registry; and a fake server of dialect v0.1 that has only this machine. In place of a power
 * supply there is a reboot command that writes a line that {@link done} returns.
 */
export interface ProcessMachine {
  readonly server: TinkServer;
  /** The directory `/shared` of all actions; also holds `cmdline`, the kernel's command line. */
  readonly directory: string;
  /** Lines of the file `/shared/done`, which actions write and the reboot command: `reboot`. */
  done(): Promise<string[]>;
  /** @returns the ID of a workflow with one task */
  createWorkflow(actions: readonly ScriptAction[]): string;
  /** Starts an agent; the end of the test kills it. */
  start(
    flags?: readonly string[],
    environment?: Readonly<Record<string, string>>,
    read?: AgentProcessOptions['read'],
  ): AgentProcess;
  /** The events of a workflow as `tink workflow events` lists them: `wipe ACTION_SUCCESS`. */
  events(workflowId: string): string[];
  /**
   * Waits until the server has recorded this status of an action.
   *
   * @returns the message that came with it
   */
  reported(workflowId: string, status: string, actionName: string, timeoutSeconds?: number): Promise<string>;
}

export async function createProcessMachine(test: TestContext, shared: SharedEngine): Promise<ProcessMachine> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-main-'));
  const server = await startTinkServer();
  const { workerId, authority, certificateUrl } = enrol(server);
  const agents = new AsyncDisposableStack();
  test.after(async () => {
    await agents.disposeAsync();
    await server.stop();
    await rm(directory, { recursive: true });
  });
  const cmdline = `quiet worker_id=${workerId} grpc_authority=${authority} grpc_cert_url=${certificateUrl}\n`;
  await writeFile(join(directory, 'cmdline'), cmdline);
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
      const usual = ['--retry-interval=200ms', '--backoff-max-interval=500ms', '--privileged=false'];
      const agent = startAgentProcess({
        flags: [...usual, `--reboot-command=${directory}/reboot`, ...flags],
        environment: { ...environmentOf(directory, shared), ...environment },
        read,
      });
      return agents.use(agent);
    },
    events: (workflowId) => server.events(workflowId).map(({ actionName, status }) => `${actionName} ${status}`),
    async reported(workflowId, status, actionName, timeoutSeconds = patienceSeconds) {
      const find = (events: ReturnType<TinkServer['events']>) =>
        events.find((event) => event.status === status && event.actionName === actionName);
      const events = await server.waitFor(workflowId, (events) => find(events) !== undefined, timeoutSeconds);
      return find(events)?.message ?? '';
    },
  };
}

/** YAML of a template. */
function templateOf(directory: string, actions: readonly ScriptAction[]): string {
  return JSON.stringify({
    version: '0.1',
    name: 'example',
    global_timeout: 600,
    tasks: [
      {
        name: 'provision',
        worker: '{{.machine1}}',
        volumes: [`${directory}:/shared`],
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

function environmentOf(directory: string, { engine, registry }: SharedEngine): Readonly<Record<string, string>> {
  return {
    NIBS_KERNEL_COMMAND_LINE: join(directory, 'cmdline'),
    NIBS_STATE_DIRECTORY: join(directory, 'state'),
    NIBS_WORK_DIRECTORY: join(directory, 'worker'),
    NIBS_LOG_FORMAT: 'text',
    DOCKER_HOST: engine.host,
    DOCKER_REGISTRY: registry.host,
    REGISTRY_USERNAME: registry.username,
    REGISTRY_PASSWORD: registry.password,
  };
}
