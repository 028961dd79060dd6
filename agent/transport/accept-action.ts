import type { Action } from '../action/action.ts';
import { TransportError } from './transport.ts';

/**
 * Names are on every line of the log and in every report. Those of Kubernetes have at most 253
 * characters, actions of Tinkerbell less than 200 bytes.
 */
const maxNameCharacters = 1024;

/** What is too long about an action's names; `undefined`: nothing. */
export function lengthProblem({ workflowId, taskName, name, id, workerId, image }: Action): string | undefined {
  const names = { workflow: workflowId, task: taskName, action: name, id, worker: workerId, image };
  const tooLong = Object.entries(names).find(([, text]) => text.length > maxNameCharacters);
  return tooLong && `the name of its ${tooLong[0]} has ${tooLong[1].length} characters, more than ${maxNameCharacters}`;
}

/** @throws {TransportError} a name of the action is longer than any that a server makes */
export function acceptAction(action: Action): Action {
  const why = lengthProblem(action);
  if (why === undefined) return action;
  throw new TransportError({ what: 'run', target: 'the action of the server', why });
}
