import { buffer } from 'node:stream/consumers';
import type { Container, MountConfig } from 'dockerode';
import type { Engine } from './engine.ts';

/** A bootkit of HookOS: what it reads of the kernel command line, and what it gives the agent. */
export interface Bootkit {
  /** Of the container; the older ones leave it to the engine. */
  readonly container: string | undefined;
  /** Variables of the container, in order, and the kernel arguments that they have the value of. */
  readonly environment: readonly (readonly [variable: string, argument: string])[];
  /** Takes the image from `tink_worker_image=`, if it is there. */
  readonly readsImage: boolean;
  /** Sends credentials to the registry of `docker_registry=` only, or with each pull. */
  readonly sendsCredentials: 'to the registry' | 'always';
  /** Source and target. */
  readonly mounts: readonly (readonly [string, string])[];
}

const registry = [
  ['DOCKER_REGISTRY', 'docker_registry'],
  ['REGISTRY_USERNAME', 'registry_username'],
  ['REGISTRY_PASSWORD', 'registry_password'],
  ['TINKERBELL_GRPC_AUTHORITY', 'grpc_authority'],
] as const;
const worker = [
  ['WORKER_ID', 'worker_id'],
  ['ID', 'worker_id'],
] as const;
const proxies = ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY'].map((name) => [name, name] as const);
const workerAndSocket = [
  ['/worker', '/worker'],
  ['/var/run/docker.sock', '/var/run/docker.sock'],
] as const;

/**
 * As in the sources of tinkerbell/hook: bootkit/main.go of v0.6.0 (6538653), hook-bootkit/main.go
 * of v0.8.1 (3ecb713), images/hook-bootkit/main.go of 1ec09d5 (February 2026). `instance_id` stands
 * for the ID that 0.6 asked a metadata server for.
 */
export const bootkits = {
  'HookOS 0.6': {
    ...{ container: undefined, readsImage: false, sendsCredentials: 'always', mounts: workerAndSocket },
    environment: [...registry, ['TINKERBELL_CERT_URL', 'grpc_cert_url'], ...worker, ['container_uuid', 'instance_id']],
  },
  'HookOS 0.8': {
    ...{ container: undefined, readsImage: true, sendsCredentials: 'always', mounts: workerAndSocket },
    environment: [...registry, ['TINKERBELL_TLS', 'tinkerbell_tls'], ...worker, ...proxies],
  },
  'HookOS of 2026': {
    ...{ container: 'tink-worker', readsImage: true, sendsCredentials: 'to the registry' },
    mounts: [...workerAndSocket, ['/dev', '/dev'], ['/host_root/run', '/run']],
    environment: [
      ...[...registry, ['TINKERBELL_TLS', 'tinkerbell_tls'] as const],
      ...[['TINKERBELL_INSECURE_TLS', 'tinkerbell_insecure_tls'] as const, ...worker, ...proxies],
    ],
  },
} as const satisfies Readonly<Record<string, Bootkit>>;

/** What the machine of a test has elsewhere than one that is provisioned, or more than that. */
export interface Machine {
  /** Instead of a source of {@link Bootkit.mounts}. */
  readonly sources: Readonly<Record<string, string>>;
  readonly moreMounts: readonly (readonly [string, string])[];
  readonly moreEnvironment: readonly string[];
}

/**
 * Does what a bootkit does with the engine: pulls the agent's image, removes an earlier container
 * of the name, creates one, starts it, and looks whether it runs. Not reproduced: waits, and that
 * it begins again after a failure.
 * @throws {Error} an image cannot be pulled, or the container does not run
 */
export async function startAsBootkit(
  bootkit: Bootkit,
  { docker }: Engine,
  kernelCommandLine: string,
  machine: Machine,
): Promise<Container> {
  const values = new Map(kernelCommandLine.split(' ').map((one) => splitOnce(one.trim())));
  const value = (argument: string) => values.get(argument) ?? '';
  const image =
    (bootkit.readsImage ? values.get('tink_worker_image') : undefined) ??
    `${value('docker_registry')}/tink-worker:latest`;
  const authconfig = { username: value('registry_username'), password: value('registry_password') };
  const isOfRegistry = image.startsWith(`${value('docker_registry')}/`);
  const credentials = bootkit.sendsCredentials === 'always' || isOfRegistry ? { authconfig } : {};
  await buffer(await docker.pull(image, credentials));
  for (const { Id, Names } of await docker.listContainers({ all: true }))
    if (Names.includes('/tink-worker')) await docker.getContainer(Id).remove({ force: true });
  const container = await docker.createContainer({
    ...(bootkit.container === undefined ? {} : { name: bootkit.container }),
    Image: image,
    Env: [
      ...bootkit.environment.map(([variable, argument]) => `${variable}=${value(argument)}`),
      ...machine.moreEnvironment,
    ],
    AttachStdout: true,
    AttachStderr: true,
    HostConfig: {
      Mounts: [
        ...bootkit.mounts.map(([source, target]) => bind(machine.sources[source] ?? source, target)),
        ...machine.moreMounts.map(([source, target]) => bind(source, target)),
      ],
      NetworkMode: 'host',
      Privileged: true,
    },
  });
  await container.start();
  if (!(await container.inspect()).State.Running) throw new Error('the container of tink-worker is not running');
  return container;
}

function bind(Source: string, Target: string): MountConfig[number] {
  return { Type: 'bind', Source, Target };
}

function splitOnce(argument: string): [string, string] {
  const at = argument.indexOf('=');
  return at === -1 ? [argument, ''] : [argument.slice(0, at), argument.slice(at + 1)];
}
