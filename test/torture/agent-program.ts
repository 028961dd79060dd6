import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  type AgentProcess,
  type AgentProcessOptions,
  startAgentProcess,
} from '../sandbox/agent-under-test/agent-process.ts';
import type { enrol } from '../sandbox/agent-under-test/enrol.ts';

export interface AgentProgramOptions {
  /** Exists; holds the journal and the directories of workflows. */
  readonly directory: string;
  /** What the agent needs to reach its server, see {@link enrol}. */
  readonly worker: ReturnType<typeof enrol>;
  /** Of the engine: DOCKER_HOST. */
  readonly engine: string;
  readonly registry: { readonly host: string; readonly username: string; readonly password: string };
  /** Options of Node, before the program. */
  readonly nodeOptions?: readonly string[];
  readonly flags?: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  /** Drops the log. Default: its lines are in {@link AgentProcess.output}. */
  readonly isQuiet?: boolean;
  /** Takes the log. Default: as {@link isQuiet} says. */
  readonly read?: AgentProcessOptions['read'];
}

/** Starts the agent as a program, with a server of any protocol version. */
export async function startAgentProgram(options: AgentProgramOptions): Promise<AgentProcess> {
  const {
    directory,
    worker,
    engine,
    registry,
    nodeOptions = [],
    flags = [],
    environment = {},
    isQuiet,
    read,
  } = options;
  const authority = join(directory, 'authority.pem');
  await writeFile(authority, worker.certificateAuthority ?? '');
  const program = join(import.meta.dirname, '../../executable/main.ts');
  return startAgentProcess({
    command: [process.execPath, ...nodeOptions, program, 'tink-agent'],
    flags: ['--status-address=off', '--privileged=false', '--registry-prefix=always', '--log-format=text', ...flags],
    environment: {
      WORKER_ID: worker.workerId,
      TINKERBELL_GRPC_AUTHORITY: worker.authority,
      ...(worker.certificateUrl !== undefined && { TINKERBELL_CERT_URL: worker.certificateUrl }),
      ...(worker.certificateAuthority !== undefined && { NIBS_TLS_CA: authority }),
      ...(worker.tls === false && { TINKERBELL_TLS: 'false' }),
      NIBS_STATE_DIRECTORY: join(directory, 'state'),
      NIBS_WORK_DIRECTORY: join(directory, 'worker'),
      DOCKER_HOST: engine,
      DOCKER_REGISTRY: registry.host,
      REGISTRY_USERNAME: registry.username,
      REGISTRY_PASSWORD: registry.password,
      ...environment,
    },
    ...(isQuiet === true && { read: (stdout) => void stdout.resume() }),
    ...(read !== undefined && { read }),
  });
}
