import type { Action } from '../action/action.ts';
import { containerName, labelsOf } from './container-identity.ts';
import type { Role } from './event.ts';

/**
 * `privileged`: all that the engine's own privileged mode gives. `all-available`: without the
 * capabilities that the machine does not have (capabilities(7)).
 */
export type Privileges = 'privileged' | 'all-available';

/**
 * A path of the machine at a path of the container. Unlike the source of a volume, the source must
 * exist. Absolute.
 */
export interface BindMount {
  readonly source: string;
  readonly target: string;
}

/** What a container is made of, for any engine. */
export interface ContainerSpec {
  /**
   * Also its hostname, so that a program in it can find its own container by its hostname
   * (Tinkerbell's action waitdaemon does). Without it an engine would use the machine's hostname on
   * the machine's network.
   */
  readonly name: string;
  /** Name of an image that the engine has. */
  readonly image: string;
  /** `undefined`: that of the image. */
  readonly entrypoint: readonly string[] | undefined;
  /** Empty: that of the image. */
  readonly command: readonly string[];
  /**
   * `NAME=value` each, in addition to those of the image; a name without a value removes the
   * image's.
   */
  readonly environment: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  /**
   * As templates write them: `source:target[:option,…]`; a source that is missing is made, one
   * without a slash is the name of a volume.
   */
  readonly volumes: readonly string[];
  readonly mounts: readonly BindMount[];
  /** `host`, `none`, `default`, or what else the engine knows. */
  readonly network: string;
  /** PID namespace: `host`, or what else the engine knows. `undefined`: its own. */
  readonly pidMode: string | undefined;
  readonly privileges: Privileges;
}

/** What a container depends on, besides the action. */
export interface ContainerPlan {
  readonly role: Role;
  readonly image: string;
  readonly command: readonly string[];
  /** Directory on the machine that the action sees as /workflow. `undefined`: none. */
  readonly workflowDirectory: string | undefined;
  readonly network: string;
  readonly privileges: Privileges;
}

/** The container of an action, or of the command that reacts to its failure. */
export function containerSpec(action: Action, plan: ContainerPlan): ContainerSpec {
  const { role, image, command, network, privileges } = plan;
  return {
    name: containerName(action, role),
    ...{ image, command, network, privileges },
    entrypoint: role === 'action' && action.entrypoint ? action.entrypoint : undefined,
    environment: action.environment,
    labels: labelsOf(action, role),
    volumes: volumesOf(action, plan.workflowDirectory),
    // An engine gives the devices of the machine only to containers that it calls privileged.
    mounts: privileges === 'all-available' && !usesTarget(action, '/dev') ? [{ source: '/dev', target: '/dev' }] : [],
    pidMode: action.pidMode,
  };
}

/** An action that mounts a volume of its own at /workflow keeps it. */
function volumesOf(action: Action, workflowDirectory: string | undefined): string[] {
  const hasNone = workflowDirectory === undefined || usesTarget(action, '/workflow');
  return [...(hasNone ? [] : [`${workflowDirectory}:/workflow`]), ...action.volumes];
}

function usesTarget(action: Action, path: string): boolean {
  return action.volumes.some((volume) => volume.split(':')[1]?.replace(/\/+$/, '') === path);
}
