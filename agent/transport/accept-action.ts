import type { Action } from '../action/action.ts';
import { TransportError } from './transport.ts';

/**
 * Names are on every line of the log and in every report. Those of Kubernetes have at most 253
 * characters, actions of Tinkerbell less than 200 bytes.
 */
const maxNameCharacters = 1024;

/**
 * Linux starts no program with a longer variable: MAX_ARG_STRLEN of include/uapi/linux/binfmts.h,
 * with pages of 4 KiB.
 */
const maxVariableBytes = 128 * 1024;

/** What is too long about an action's names and its environment; `undefined`: nothing. */
export function lengthProblem(action: Action): string | undefined {
  const { workflowId, taskName, name, id, workerId, image, environment } = action;
  const names = { workflow: workflowId, task: taskName, action: name, id, worker: workerId, image };
  const tooLong = Object.entries(names).find(([, text]) => text.length > maxNameCharacters);
  const variable = environment.find((entry) => Buffer.byteLength(entry) >= maxVariableBytes);
  if (variable !== undefined)
    return `a variable of its environment has ${Buffer.byteLength(variable)} bytes; a program can get ${maxVariableBytes - 1}`;
  return tooLong && `the name of its ${tooLong[0]} has ${tooLong[1].length} characters, more than ${maxNameCharacters}`;
}

/** @throws {TransportError} a name or variable of the action is longer than any that is of use */
export function acceptAction(action: Action): Action {
  const why = lengthProblem(action);
  if (why === undefined) return action;
  throw new TransportError({ what: 'run', target: 'the action of the server', why });
}
