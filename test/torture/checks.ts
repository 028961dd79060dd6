import type { Outcome, Verdict } from '../../agent/action/action.ts';
import type { SimulatedContainer } from './engine.ts';

/** An action of a workflow, and what really happened to it. */
export interface ActionFacts {
  readonly name: string;
  readonly seconds: number;
  readonly exitCode: number;
  readonly timeoutSeconds: number;
  /** How many of its containers were started. */
  starts: number;
  readonly exits: { readonly exitCode: number; readonly wasKilled: boolean }[];
  /** The result that is in the journal. */
  journalled: Outcome | undefined;
  /** Something else than its program decided how it ended: a kill, a lost pull, a refusal. */
  wasDisturbed: boolean;
}

export interface WorkflowFacts {
  readonly name: string;
  readonly actions: readonly ActionFacts[];
  /** So many actions have succeeded by the records of the server. */
  position: number;
  isRunning: boolean;
  /** The server has recorded the end. */
  ended: Verdict | undefined;
  isDeleted: boolean;
  /**
   * A request arrived twice or late: the protocols have no means against that, so that the order of
   * the records is not checked.
   */
  isStale: boolean;
}

/** Takes what violates an invariant; the number is that of docs/invariants.md. */
export type Violate = (invariant: 3 | 4 | 5 | 6, what: string) => void;

/** All secrets of a simulation begin so. */
export const CANARY = 'canary-';

/** Invariant 3: what ended does not run again, and nothing runs twice at once. */
export function checkStart(
  action: ActionFacts,
  others: readonly SimulatedContainer[],
  policy: 'rerun' | 'fail',
  violate: Violate,
): void {
  if (action.journalled !== undefined) violate(3, `${action.name} runs again after its end was recorded`);
  if (others.length > 0) violate(3, `${action.name} starts while a container of it runs`);
  if (policy === 'fail' && action.starts > 1) violate(3, `${action.name} runs again, against the policy`);
}

/** Invariants 3 and 5: what the server records is what happened, in order and with its reason. */
export function checkRecord(
  workflow: WorkflowFacts,
  record: { readonly progress: string; readonly actionName: string; readonly message: string },
  hasMessage: boolean,
  violate: Violate,
): void {
  const { progress, actionName, message } = record;
  const index = workflow.actions.findIndex(({ name }) => name === actionName);
  const action = workflow.actions[index];
  if (action === undefined) {
    violate(3, `the server records ${progress} of an action that does not exist`);
    return;
  }
  if (message.includes(CANARY)) violate(6, `a report has a secret: ${message}`);
  if (!workflow.isStale) checkOrder(workflow, index, progress, violate);
  if (progress === 'RUNNING') return;
  if (action.journalled === undefined) {
    if (workflow.isStale) return;
    violate(3, `${progress} of ${actionName} is reported, and it is not in the journal`);
    return;
  }
  const { verdict } = action.journalled;
  if (verdict !== progress && !workflow.isStale)
    violate(3, `${progress} of ${actionName} is reported, and ${verdict} is in the journal`);
  checkVerdict(action, verdict, violate);
  if (hasMessage && verdict !== 'SUCCESS') checkReason(action, message, violate);
}

function checkOrder(workflow: WorkflowFacts, index: number, progress: string, violate: Violate): void {
  const { position, isRunning, ended, name } = workflow;
  const what = `the server records ${progress} of action ${index} of ${name}`;
  if (ended !== undefined) {
    violate(3, `${what} after its end`);
    return;
  }
  if (index !== position) {
    violate(3, `${what}, and action ${position} is next`);
    return;
  }
  if ((progress === 'RUNNING') === isRunning) {
    violate(3, `${what} ${isRunning ? 'twice' : 'before its start'}`);
    return;
  }
  workflow.isRunning = progress === 'RUNNING';
  if (progress === 'RUNNING') return;
  if (progress === 'SUCCESS') workflow.position += 1;
  else workflow.ended = progress as Verdict;
  if (workflow.position === workflow.actions.length) workflow.ended = 'SUCCESS';
}

function checkVerdict(action: ActionFacts, verdict: Verdict, violate: Violate): void {
  const { exits, seconds, timeoutSeconds, exitCode, wasDisturbed } = action;
  if (verdict === 'SUCCESS' && !exits.some((exit) => exit.exitCode === 0))
    violate(3, `${action.name} is a success, and no container of it has succeeded`);
  if (wasDisturbed) return;
  const expected: Verdict = seconds >= timeoutSeconds ? 'TIMEOUT' : exitCode === 0 ? 'SUCCESS' : 'FAILED';
  if (verdict !== expected)
    violate(3, `${action.name} is ${verdict}, and nothing but its program decided: ${expected}`);
}

const reasons =
  /^(exit code \d+|ended by \w+ \(exit code \d+\)|timed out|interrupted: the agent (had to stop|or the machine stopped)|could not be run: .|stopped: .)/;

function checkReason({ exits, wasDisturbed, exitCode, name }: ActionFacts, message: string, violate: Violate): void {
  if (!reasons.test(message)) violate(5, `${name} failed, and the report does not say why: ${message}`);
  const own = exits.at(-1);
  if (wasDisturbed || own === undefined || own.wasKilled) return;
  if (!message.includes(`exit code ${exitCode}`) && !message.startsWith('timed out'))
    violate(5, `${name} ended with ${exitCode}, and the report does not have that: ${message}`);
  if (!message.includes('last words')) violate(5, `the report of ${name} lacks its last line: ${message}`);
}
