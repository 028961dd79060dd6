import { createHash } from 'node:crypto';
import type { ContainerCreateOptions, HostConfig } from 'dockerode';
import type { Action } from '../action.ts';
import { missingCapabilities } from './capabilities.ts';
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
  /** Directory on the machine that the action sees as /workflow. */
  readonly workflowDirectory: string;
  readonly networkMode: string;
  readonly privileges: 'privileged' | 'all-available';
}

/** Translates an action into the words of the engine's API. */
export async function containerSettings(action: Action, plan: ContainerPlan): Promise<ContainerCreateOptions> {
  return {
    name: containerName(action, plan.role),
    Image: plan.image,
    // An empty list would remove the image's own CMD.
    ...(plan.command.length > 0 && { Cmd: [...plan.command] }),
    Env: [...action.environment],
    Labels: labelsOf(action, plan.role),
    HostConfig: {
      Binds: binds(action, plan.workflowDirectory),
      NetworkMode: plan.networkMode,
      ...(action.pidMode && { PidMode: action.pidMode }),
      // Output is read while it is written. What is kept besides serves an agent that comes later, and must not fill the machine's memory.
      LogConfig: { Type: 'json-file', Config: { 'max-size': '8m', 'max-file': '2' } },
      RestartPolicy: { Name: 'no' },
      ...(plan.privileges === 'privileged' ? { Privileged: true } : await allThatIsAvailable(action)),
    },
  };
}

/** Who a container belongs to. */
export function labelsOf(action: Action, role: Role): Record<string, string> {
  return {
    [labels.worker]: action.workerId,
    [labels.workflow]: action.workflowId,
    [labels.action]: action.id,
    [labels.role]: role,
  };
}

/** Readable, allowed by the engine, and different for every action of every workflow. */
export function containerName(action: Action, role: Role): string {
  const readable = action.name.replaceAll(/[^\w.-]/g, '_').slice(0, 60);
  const identity = JSON.stringify([action.workerId, action.workflowId, action.id, role]);
  return `action_${readable}-${createHash('sha256').update(identity).digest('hex').slice(0, 12)}`;
}

/** An action that puts something of its own at /workflow gets that. */
function binds(action: Action, workflowDirectory: string): string[] {
  const own = mounts(action, '/workflow') ? [] : [`${workflowDirectory}:/workflow`];
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
