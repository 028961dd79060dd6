import { readFile } from 'node:fs/promises';
import type { Clock } from '../../../clock/clock.ts';
import { systemClock } from '../../../clock/system.ts';
import type { Action, Event, Verdict } from '../../action/action.ts';
import { TemplateEngine } from '../../template/engine/engine.ts';
import { describeProblem, TemplateError } from '../../template/problem.ts';
import type { HardwareFile } from '../../template/render.ts';
import { readTemplate, type Task, type TaskAction, type Template } from '../../template/template.ts';
import type { Acknowledgement, CancelState, Next, Transport } from '../transport.ts';

/**
 * What happens to a workflow that is run from a file; one line of JSON each, with the time in
 * front.
 */
type WorkflowEvent = { readonly workflow: string } & (
  | { readonly event: 'workflow-started'; readonly template: string; readonly actions: number }
  | { readonly event: 'task-skipped'; readonly task: string; readonly worker: string; readonly reason: string }
  | ({ readonly event: 'action-started' } & ActionFacts)
  /** `seconds`: with the pull of the image. */
  | ({
      readonly event: 'action-ended';
      readonly verdict: Verdict;
      readonly message: string;
      readonly seconds: number;
    } & ActionFacts)
  | {
      readonly event: 'workflow-ended';
      /** `STOPPED`: the agent was stopped before the end of the workflow. */
      readonly verdict: Verdict | 'STOPPED';
      readonly message: string;
      readonly seconds: number;
    }
);

interface ActionFacts {
  readonly task: string;
  readonly action: string;
  readonly worker: string;
  readonly image: string;
}

export interface TemplateOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** File of the template. */
  readonly template: string;
  /** Values of its variables, by name. */
  readonly templateVariables?: ReadonlyMap<string, string> | undefined;
  /** Path of a {@link HardwareFile}, which describes the machine. */
  readonly hardware?: string | undefined;
  /** Only tasks of this worker are run; `undefined`: all. */
  readonly workerId?: string | undefined;
  /** Masks secrets in a text. */
  readonly redact: (text: string) => string;
  /** Takes what servers pass over without a word, with its place in the template. */
  readonly onWarning: (message: string) => void;
  /** Takes one {@link WorkflowEvent} as a line of JSON, with its end. */
  readonly onEvent: (line: string) => void;
}

/** A {@link Transport} without a server: it has the one workflow of a template. */
export interface FileTransport extends Transport {
  /** How the workflow ended; settled when it is asked for more than there is. */
  readonly ended: Promise<Verdict>;
}

/**
 * Reads a template and makes a workflow of it.
 *
 * @throws {TemplateError} for a template, or a hardware file, that cannot be used, and when there
 *   is nothing to run
 */
export async function openTemplate(options: TemplateOptions): Promise<FileTransport> {
  const { template: source, redact, clock = systemClock } = options;
  try {
    const hardware = options.hardware === undefined ? undefined : await readHardware(options.hardware);
    const text = await contentOf(source, 'the template');
    const data = { variables: Object.fromEntries(options.templateVariables ?? []), hardware };
    const { template, warnings } = readTemplate(await TemplateEngine.load(clock), text, data, source);
    for (const warning of warnings) options.onWarning(redact(describeProblem(source, warning)));
    const tell = (event: WorkflowEvent) => options.onEvent(toLine(event, clock.now(), redact));
    return new TemplateTransport(template, options.workerId, clock, tell);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    throw new TemplateError(redact(error.message), { cause: error.cause, problems: error.problems });
  }
}

async function readHardware(path: string): Promise<HardwareFile> {
  return { path, content: await contentOf(path, 'the hardware file') };
}

/** @param what The file, in messages */
async function contentOf(path: string, what: string): Promise<string> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    throw new TemplateError(`cannot read ${what} ${path}: ${(error as Error).message}`, { cause: error });
  }
}

/** Masked before it is JSON, so that it stays JSON. */
function toLine({ workflow, event, ...rest }: WorkflowEvent, time: Date, redact: (text: string) => string): string {
  const masked = Object.entries(rest).map(([name, value]) => [name, typeof value === 'string' ? redact(value) : value]);
  return `${JSON.stringify({ time: time.toISOString(), workflow, event, ...Object.fromEntries(masked) })}\n`;
}

class TemplateTransport implements FileTransport {
  readonly ended: Promise<Verdict>;
  readonly #end: (verdict: Verdict) => void;
  readonly #workflowId = crypto.randomUUID();
  readonly #tell: (event: WorkflowEvent) => void;
  readonly #actions: readonly Action[];
  readonly #limitSeconds: number;
  readonly #clock: Clock;
  readonly #startedAtSeconds: number;
  #position = 0;
  #verdict: Verdict | undefined;

  /** @throws {TemplateError} when there is nothing to run */
  constructor(template: Template, workerId: string | undefined, clock: Clock, onEvent: (event: WorkflowEvent) => void) {
    this.#clock = clock;
    this.#startedAtSeconds = clock.monotonicSeconds();
    ({ promise: this.ended, resolve: this.#end } = Promise.withResolvers<Verdict>());
    const isOurs = ({ worker }: Task) => workerId === undefined || worker === workerId;
    this.#actions = template.tasks.filter(isOurs).flatMap((task) => this.#actionsOf(task));
    if (this.#actions.length === 0) throw new TemplateError(nothingToRun(template, workerId));
    this.#limitSeconds = template.globalTimeoutSeconds || Number.POSITIVE_INFINITY;
    this.#tell = onEvent;
    const workflow = this.#workflowId;
    onEvent({ workflow, event: 'workflow-started', template: template.name, actions: this.#actions.length });
    for (const { name: task, worker } of template.tasks.filter((task) => !isOurs(task))) {
      onEvent({ workflow, event: 'task-skipped', task, worker, reason: `this is worker ${workerId}` });
    }
  }

  async next(): Promise<Next> {
    // As with the current server, a running action is not disturbed; no other one begins.
    if (this.#verdict === undefined && this.#seconds() > this.#limitSeconds) {
      this.#conclude('TIMEOUT', `global_timeout, ${this.#limitSeconds} s, is over`);
    }
    const action = this.#actions[this.#position];
    if (this.#verdict !== undefined || action === undefined) {
      // Only now: the next poll comes after the last action and its container are done with.
      if (this.#verdict !== undefined) this.#end(this.#verdict);
      return { kind: 'idle', reason: 'the workflow has ended' };
    }
    return { kind: 'action', action, alreadyStarted: false };
  }

  async checkCancelled(): Promise<CancelState> {
    return { kind: 'active' };
  }

  async report(event: Event): Promise<Acknowledgement> {
    const { taskName: task, name, workerId: worker, image } = event.action;
    const facts = { workflow: this.#workflowId, task, action: name, worker, image };
    if (event.kind === 'started') {
      this.#tell({ event: 'action-started', ...facts });
      return { kind: 'acknowledged', workflowDone: false };
    }
    const { verdict, message, startedAt, endedAt } = event.outcome;
    const seconds = Math.max(0, endedAt.getTime() - startedAt.getTime()) / 1000;
    this.#tell({ event: 'action-ended', ...facts, verdict, message, seconds });
    this.#position += 1;
    const isLast = this.#position === this.#actions.length;
    if (verdict !== 'SUCCESS') this.#conclude(verdict, `${name}: ${message}`);
    else if (isLast) this.#conclude(verdict, 'all actions have succeeded');
    return { kind: 'acknowledged', workflowDone: verdict === 'SUCCESS' && isLast };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#verdict === undefined) this.#tellEnd('STOPPED', 'the agent was stopped');
  }

  #conclude(verdict: Verdict, message: string): void {
    this.#verdict = verdict;
    this.#tellEnd(verdict, message);
  }

  #tellEnd(verdict: Verdict | 'STOPPED', message: string): void {
    const workflow = this.#workflowId;
    this.#tell({ workflow, event: 'workflow-ended', verdict, message, seconds: this.#seconds() });
  }

  /** Since the start of the workflow. */
  #seconds(): number {
    return Math.round((this.#clock.monotonicSeconds() - this.#startedAtSeconds) * 1000) / 1000;
  }

  #actionsOf(task: Task): Action[] {
    return task.actions.map((action) => toAction(this.#workflowId, task, action));
  }
}

function toAction(workflowId: string, task: Task, action: TaskAction): Action {
  const { timeoutSeconds, ...rest } = action;
  return {
    ...rest,
    // A template says of itself neither which generation of server it is for, nor which registry.
    registryPrefix: 'unqualified',
    sharesDirectory: true,
    workflowId,
    taskName: task.name,
    id: `${task.name}/${action.name}`,
    workerId: task.worker,
    timeoutSeconds: timeoutSeconds > 0 ? timeoutSeconds : undefined,
  };
}

function nothingToRun({ tasks }: Template, workerId: string | undefined): string {
  if (workerId === undefined || tasks.some(({ worker }) => worker === workerId))
    return 'the template has no actions to run';
  const workers = [...new Set(tasks.map(({ worker }) => worker))].join(', ');
  return `no task of the template is for worker ${workerId}, only for ${workers} (correct --id, or the value that names the worker)`;
}
