import type { ContainerCreateOptions, HostConfig } from 'dockerode';
import { missingCapabilities } from '../capabilities.ts';
import type { ContainerSpec } from '../container-spec.ts';

/**
 * A container in words of the engine's API ("Create a container").
 * @param logDriver that of the engine, which the container gets. `undefined`: not known.
 * @param joinsHostname on the network of another container the hostname has to be asked for, too:
 * Podman does not take it from there by itself. Default: false.
 */
export async function createOptions(
  spec: ContainerSpec,
  logDriver: string | undefined,
  joinsHostname = false,
): Promise<ContainerCreateOptions> {
  return {
    name: spec.name,
    Image: spec.image,
    ...hostnameOf(spec),
    ...(spec.entrypoint && { Entrypoint: [...spec.entrypoint] }),
    // An empty list would remove the image's own CMD.
    ...(spec.command.length > 0 && { Cmd: [...spec.command] }),
    Env: [...spec.environment],
    Labels: { ...spec.labels },
    HostConfig: {
      Binds: [...spec.volumes],
      Mounts: spec.mounts.map(({ source, target }) => ({ Type: 'bind', Source: source, Target: target })),
      NetworkMode: spec.network,
      ...(joinsHostname && { UTSMode: spec.network }),
      ...(spec.pidMode && { PidMode: spec.pidMode }),
      ...extraHosts(spec),
      ...(logDriver === 'json-file' && { LogConfig: boundedJsonFile }),
      RestartPolicy: { Name: 'no' },
      ...(spec.privileges === 'privileged' ? { Privileged: true } : await allThatIsAvailable()),
    },
  };
}

/**
 * Output is read while it is written; what the engine stores serves an agent that comes later.
 * Where it goes is the host's choice, but this driver's default is to fill the machine's memory.
 */
const boundedJsonFile = { Type: 'json-file', Config: { 'max-size': '8m', 'max-file': '2' } };

/**
 * On the network of another container the hostname is that container's: the engine refuses another
 * one.
 */
function hostnameOf(spec: ContainerSpec): Pick<ContainerCreateOptions, 'Hostname'> {
  return sharesNetwork(spec) ? {} : { Hostname: spec.name };
}

/** Whether the container is on the network of another one. */
export function sharesNetwork({ network }: ContainerSpec): boolean {
  return network.startsWith('container:');
}

/** The engine lists the hostname in /etc/hosts only with an address of the container's own. */
function extraHosts({ name, network }: ContainerSpec): Pick<HostConfig, 'ExtraHosts'> {
  return network === 'host' || network === 'none' ? { ExtraHosts: [`${name}:127.0.1.1`] } : {};
}

/**
 * What `--privileged` stands for, without the capabilities that this machine does not have
 * (capabilities(7)).
 */
async function allThatIsAvailable(): Promise<HostConfig> {
  return {
    CapAdd: ['ALL'],
    CapDrop: await missingCapabilities(),
    SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
    MaskedPaths: [],
    ReadonlyPaths: [],
    DeviceCgroupRules: ['b *:* rwm', 'c *:* rwm'],
  };
}
