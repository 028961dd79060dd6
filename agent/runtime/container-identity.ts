import { createHash } from 'node:crypto';
import type { Action } from '../action/action.ts';
import type { ContainerSummary } from './container-state.ts';
import type { Role } from './event.ts';

/** Labels by which an agent recognises the containers of an earlier one. */
export const labels = {
  worker: 'nibs.worker',
  workflow: 'nibs.workflow',
  action: 'nibs.action',
  role: 'nibs.role',
} as const;

/** Labels of the container of an action. */
export function labelsOf(action: Action, role: Role): Record<string, string> {
  return {
    [labels.worker]: action.workerId,
    [labels.workflow]: action.workflowId,
    [labels.action]: action.id,
    [labels.role]: role,
  };
}

/**
 * Name of the container of an action: readable, and different for every action of every workflow.
 * Valid as the name of a Docker container, as the id of a containerd container and as a hostname
 * (RFC 1123 section 2.1, at most 63 characters), also with the suffix of {@link alternativeName}.
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
 * Whether a container with our labels also has the name that belongs to them. A program in an
 * action may start a container with a copy of its own settings, labels included: that is not ours.
 */
export function hasOwnName(container: Pick<ContainerSummary, 'name' | 'labels'>): boolean {
  return container.name.includes(identityOf(container.labels));
}

function identityOf(given: Readonly<Record<string, string>>): string {
  const identity = [labels.worker, labels.workflow, labels.action, labels.role].map((label) => given[label] ?? '');
  return createHash('sha256').update(JSON.stringify(identity)).digest('hex').slice(0, 12);
}
