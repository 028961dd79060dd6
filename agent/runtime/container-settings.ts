import { createHash } from 'node:crypto';
import type { ContainerCreateOptions, HostConfig } from 'dockerode';
import type { Action } from '../action/action.ts';
import { missingCapabilities } from './capabilities.ts';
import type { ContainerSummary } from './engine-api.ts';
import type { Role } from './event.ts';

/** Labels by which a later agent recognises the containers of one that died. */
export const labels = {
  worker: 'nibs.worker',
  workflow: 'nibs.workflow',
  action: 'nibs.action',
  role: 'nibs.role',
} as const;

/** What the settings of a container depend on, besides the action. */
export interface ContainerPlan {
  readonly role: Role;
  readonly image: string;
  readonly command: readonly string[];
  /** Directory on the machine that the action sees as /workflow. `undefined`: none. */
  readonly workflowDirectory: string | undefined;
  readonly networkMode: string;
  readonly privileges: 'privileged' | 'all-available';
  /** The engine's own, which the container gets. Default: not known. */
  readonly logDriver?: string | undefined;
}

/** Translates an action into the words of the engine's API. */
export async function containerSettings(action: Action, plan: ContainerPlan): Promise<ContainerCreateOptions> {
  const settings: ContainerCreateOptions = {
    Image: plan.image,
    ...(plan.role === 'action' && action.entrypoint && { Entrypoint: [...action.entrypoint] }),
    // An empty list would remove the image's own CMD.
    ...(plan.command.length > 0 && { Cmd: [...plan.command] }),
    Env: [...action.environment],
    Labels: labelsOf(action, plan.role),
    HostConfig: {
      Binds: binds(action, plan.workflowDirectory),
      NetworkMode: plan.networkMode,
      ...(action.pidMode && { PidMode: action.pidMode }),
      ...(plan.logDriver === 'json-file' && { LogConfig: boundedJsonFile }),
      RestartPolicy: { Name: 'no' },
      ...(plan.privileges === 'privileged' ? { Privileged: true } : await allThatIsAvailable(action)),
    },
  };
  return withName(settings, containerName(action, plan.role));
}

/**
 * Output is read while it is written; what is kept besides serves an agent that comes later. Where it goes is the host's choice, but this driver's default is to
 * fill the machine's memory.
 */
const boundedJsonFile = { Type: 'json-file', Config: { 'max-size': '8m', 'max-file': '2' } };

/** Who a container belongs to. */
export function labelsOf(action: Action, role: Role): Record<string, string> {
  return {
    [labels.worker]: action.workerId,
    [labels.workflow]: action.workflowId,
    [labels.action]: action.id,
    [labels.role]: role,
  };
}

/**
 * Name and hostname of a container are the same text, so that a program in it can ask the engine for its own container, by its hostname (Tinkerbell's
 * action waitdaemon does). Left to itself, the engine would use the machine's hostname on the machine's network.
 *
 * On the network of another container the hostname is that container's: the Docker API refuses another one.
 */
export function withName(settings: ContainerCreateOptions, name: string): ContainerCreateOptions {
  const { NetworkMode: networkMode = '' } = settings.HostConfig ?? {};
  if (networkMode.startsWith('container:')) return { ...settings, name };
  // Docker lists the hostname in /etc/hosts only with an address of the container's own.
  const hasNoAddress = networkMode === 'host' || networkMode === 'none';
  const ExtraHosts = hasNoAddress ? [`${name}:127.0.1.1`] : undefined;
  return { ...settings, name, Hostname: name, HostConfig: { ...settings.HostConfig, ExtraHosts } };
}

/**
 * Readable and different for every action of every workflow. Valid as the name of a Docker container, as the id of a containerd container and as a hostname
 * (RFC 1123 section 2.1, at most 63 characters), also with what {@link alternativeName} appends.
 */
export function containerName(action: Action, role: Role): string {
  const readable = action.name
    .replaceAll(/[^A-Za-z0-9]+/g, '-')
    .slice(0, 32)
    .replaceAll(/^-+|-+$/g, '');
  return ['action', readable, identityOf(labelsOf(action, role))].filter((part) => part !== '').join('-');
}

/** For a container whose name is taken. */
export function alternativeName(name: string): string {
  return `${name}-${crypto.randomUUID().slice(0, 8)}`;
}

/**
 * Whether a container with labels of ours also has the name that belongs to them. A program in an action may start a container with the settings of its own
 * one, labels included; such a container is not ours.
 */
export function hasOwnName(container: Pick<ContainerSummary, 'Names' | 'Labels'>): boolean {
  const identity = identityOf(container.Labels);
  return container.Names.some((name) => name.includes(identity));
}

function identityOf(given: Readonly<Record<string, string>>): string {
  const identity = [labels.worker, labels.workflow, labels.action, labels.role].map((label) => given[label] ?? '');
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 12);
}

/** An action that puts something of its own at /workflow gets that. */
function binds(action: Action, workflowDirectory: string | undefined): string[] {
  const isOwn = workflowDirectory === undefined || mounts(action, '/workflow');
  const own = isOwn ? [] : [`${workflowDirectory}:/workflow`];
  return [...own, ...action.volumes];
}

function mounts(action: Action, path: string): boolean {
  return action.volumes.some((volume) => volume.split(':')[1]?.replace(/\/+$/, '') === path);
}

/** What `--privileged` stands for, without the capabilities that this machine does not have (capabilities(7)). */
async function allThatIsAvailable(action: Action): Promise<HostConfig> {
  return {
    CapAdd: ['ALL'],
    CapDrop: await missingCapabilities(),
    SecurityOpt: ['seccomp=unconfined', 'apparmor=unconfined'],
    MaskedPaths: [],
    ReadonlyPaths: [],
    DeviceCgroupRules: ['b *:* rwm', 'c *:* rwm'],
    ...(!mounts(action, '/dev') && { Mounts: [{ Type: 'bind', Source: '/dev', Target: '/dev' }] }),
  };
}
