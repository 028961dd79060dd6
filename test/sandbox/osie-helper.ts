import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Engine } from './engine.ts';

/** An OSIE: the image that its helper names, and what that gives its container. */
export interface OsieHelper {
  /** Repository and tag in the registry of `docker_registry=`. */
  readonly image: string;
  /** Variables of the container, in order, and the kernel arguments that they have the value of. */
  readonly environment: readonly (readonly [variable: string, argument: string])[];
  /** Variables with a value of the script's. */
  readonly fixed: readonly string[];
}

const server = [
  ['DOCKER_REGISTRY', 'docker_registry'],
  ['TINKERBELL_GRPC_AUTHORITY', 'grpc_authority'],
  ['TINKERBELL_CERT_URL', 'grpc_cert_url'],
  ['REGISTRY_USERNAME', 'registry_username'],
  ['REGISTRY_PASSWORD', 'registry_password'],
] as const;
const worker = [
  ['container_uuid', 'instance_id'],
  ['WORKER_ID', 'worker_id'],
] as const;

/**
 * As in apps/workflow-helper.sh of tinkerbell/osie: bc454bc (August 2020, which sandbox v0.1.0 has)
 * and c059074 (October 2021). `instance_id` stands for the ID that the earlier one asked a metadata
 * server for.
 */
export const osieHelpers = {
  'OSIE of 2020': { image: 'tink-worker:latest', environment: [...worker, ...server], fixed: [] },
  'OSIE of 2021': {
    image: 'tinkerbell/tink-worker:sha-5e1f0fd8',
    environment: [...worker, ['ID', 'worker_id'], ...server],
    // Its engine logs to syslog.
    fixed: ['CAPTURE_ACTION_LOGS=false'],
  },
} as const satisfies Readonly<Record<string, OsieHelper>>;

/** What the machine of a test has elsewhere than one that is provisioned, or more than that. */
export interface Machine {
  /** Where the helper's `/worker` is. */
  readonly worker: string;
  /** Further arguments of `docker run`. */
  readonly more: readonly string[];
}

/**
 * Does what the helper does with the engine: `docker login`, and `docker run` in the foreground.
 * Not reproduced: the registry's authority, which engines do not need for loopback addresses, and
 * the log driver.
 * @param directory keeps the credentials of the command
 * @returns the process of `docker run`, in an object: it ends with the container
 */
export async function runOsieHelper(
  helper: OsieHelper,
  engine: Engine,
  kernelCommandLine: string,
  machine: Machine,
  directory: string,
) {
  // As its sed does: the last argument of a name, wherever a word ends before it.
  const value = (name: string) => new RegExp(`.*\\b${name}=(\\S+)`).exec(kernelCommandLine)?.[1] ?? '';
  const registry = value('docker_registry');
  const options = { env: { DOCKER_HOST: engine.host, DOCKER_CONFIG: join(directory, 'docker') } };
  await mkdir(options.env.DOCKER_CONFIG);
  const credentials = ['-u', value('registry_username'), '-p', value('registry_password')];
  await execa('docker', ['login', registry, ...credentials], options);
  const environment = [...helper.environment.map(([variable, name]) => `${variable}=${value(name)}`), ...helper.fixed];
  const parameters = [
    ...['run', '--privileged', '-t', '--name', 'tink-worker'],
    ...environment.flatMap((one) => ['-e', one]),
    ...['-v', `${machine.worker}:/worker`, '-v', `${engine.socketPath}:/var/run/docker.sock`],
    ...['-t', '--net', 'host', ...machine.more, `${registry}/${helper.image}`],
  ];
  return { ended: execa('docker', parameters, { ...options, all: true, reject: false }) };
}
