/**
 * Lists of actions, as the current agent takes them where no server keeps workflows: a YAML list
 * (JSON is YAML) of `spec.Action` of tinkerbell/tinkerbell, `tink/agent/internal/spec/spec.go`.
 */
import { LineCounter } from 'yaml';
import { ImageReferenceError, parseReference } from '../../../registry/image-reference.ts';
import type { Action } from '../../action/action.ts';
import { parseYaml } from '../../template/document.ts';
import { type Diagnostic, describeProblem } from '../../template/problem.ts';
import { type Mapping, YamlReader } from '../../template/yaml.ts';
import { lengthProblem } from '../accept-action.ts';

/** An action of a list. */
export interface ListedAction {
  readonly action: Action;
  /** How often it is attempted in all when it fails; at least 1. */
  readonly attempts: number;
}

export interface ActionList {
  /** At least one; no two have both the same workflow and the same id. */
  readonly actions: readonly ListedAction[];
  /** What is in the list and means nothing, each as `source:line:column: …`. */
  readonly warnings: readonly string[];
}

export interface ActionListOptions {
  /** Whose actions these are, where the list does not say. */
  readonly workerId: string;
  /**
   * Makes ids that the list does not have. Other than that of any list before: two lists without
   * ids are never taken for one.
   */
  readonly listId: string;
  /** Name of the list in messages. */
  readonly source: string;
}

/** More actions than this are no list that a site makes. */
const maxActions = 1000;

/** More problems than this are counted. */
const maxProblems = 20;

/**
 * A list that cannot be used. The message has one line for each problem, as `source:line:column:
 * …`, at most 20.
 */
export class ActionListError extends Error {
  override readonly name = 'ActionListError';
}

/** @throws {ActionListError} with everything that is wrong */
export function readActionList(text: string, options: ActionListOptions): ActionList {
  const yaml = new YamlReader(parseYaml(text));
  const describe = describer(text, options.source);
  const root = yaml.root();
  const listed = yaml.mappings(root, 'the list of actions', 'an action', knownKeys);
  if (listed.length === 0 && yaml.errors.length === 0) yaml.error(root?.offset ?? 0, 'the list has no actions');
  if (listed.length > maxActions)
    yaml.error(root?.offset ?? 0, `the list has ${listed.length} actions, more than ${maxActions}`);
  const actions = listed
    .slice(0, maxActions)
    .map((fields, index) => new ActionReader(yaml, fields).read(index, options));
  for (const index of repeated(actions)) yaml.error(listed[index]?.offset ?? 0, 'an earlier action has the same id');
  if (yaml.errors.length > 0) throw new ActionListError(describe(yaml.errors).join('\n'));
  return { actions, warnings: describe(yaml.warnings) };
}

/** Problems in the order of the text, with their places; of many the first ones. */
function describer(text: string, source: string): (problems: readonly Diagnostic[]) => string[] {
  return (problems) => {
    if (problems.length === 0) return [];
    const lines = new LineCounter();
    lines.addNewLine(0);
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) lines.addNewLine(at + 1);
    const described = problems
      .toSorted((a, b) => a.offset - b.offset)
      .slice(0, maxProblems)
      .map(({ offset, message }) => {
        const { line, col: column } = lines.linePos(offset);
        return describeProblem(source, { line, column, message });
      });
    const more = problems.length - described.length;
    return more === 0 ? described : [...described, `${source}: ${more} more of these`];
  };
}

const knownKeys = [
  ...['workflow_id', 'task_id', 'id', 'name', 'agent_id', 'worker_id', 'image', 'cmd', 'args', 'env', 'volumes'],
  ...['namespaces', 'retries', 'timeoutSeconds'],
  // Filled in by the agent on its way out; a list that is made from its records has them.
  ...['executionStart', 'executionStop', 'executionDuration', 'duration'],
];

/** Reads the fields of one action. */
class ActionReader {
  readonly #yaml: YamlReader;
  readonly #fields: Mapping;

  constructor(yaml: YamlReader, fields: Mapping) {
    this.#yaml = yaml;
    this.#fields = fields;
  }

  /** @param index in the list, from 0 */
  read(index: number, { workerId, listId }: ActionListOptions): ListedAction {
    const namespaces = this.#yaml.mapping(this.#fields.values.get('namespaces'), '"namespaces"', ['network', 'pid']);
    const namespace = (key: string) => this.#yaml.text(namespaces?.values.get(key), `"${key}"`) || undefined;
    const command = this.#text('cmd');
    const action: Action = {
      workflowId: this.#text('workflow_id') || listId,
      taskName: this.#text('task_id'),
      name: this.#text('name') || `action-${index + 1}`,
      id: this.#id() || `${listId}-${index + 1}`,
      workerId: this.#text('agent_id') || this.#text('worker_id') || workerId,
      image: this.#image(),
      registryPrefix: 'never',
      sharesDirectory: false,
      // As tink-agent has it: the program to start, with the arguments.
      ...(command !== '' && { entrypoint: [command] }),
      command: this.#texts('args'),
      environment: this.#environment(),
      volumes: this.#texts('volumes'),
      timeoutSeconds: this.#count('timeoutSeconds') || undefined,
      pidMode: namespace('pid'),
      networkMode: namespace('network'),
      onTimeout: [],
      onFailure: [],
    };
    const tooLong = lengthProblem(action);
    if (tooLong !== undefined) this.#yaml.error(this.#fields.offset, tooLong);
    return { action, attempts: Math.max(1, this.#count('retries')) };
  }

  #id(): string {
    const id = this.#text('id');
    if (attemptSuffix.test(id)) this.#error('id', 'the id must not end like that of a further attempt (.attempt-2)');
    return id;
  }

  #image(): string {
    const image = this.#text('image');
    if (image === '') this.#error('image', 'the action must name an image');
    try {
      if (image !== '') parseReference(image);
    } catch (error) {
      if (!(error instanceof ImageReferenceError)) throw error;
      this.#error('image', error.message);
    }
    return image;
  }

  #environment(): string[] {
    const variables = this.#yaml.mappings(this.#fields.values.get('env'), '"env"', 'a variable', ['key', 'value']);
    return variables.map(({ offset, values }) => {
      const name = this.#yaml.text(values.get('key'), '"key"') ?? '';
      if (name === '' || name.includes('='))
        this.#yaml.error(offset, 'a variable must have a "key", its name, without "="');
      return `${name}=${this.#yaml.text(values.get('value'), '"value"') ?? ''}`;
    });
  }

  #text(key: string): string {
    return this.#yaml.text(this.#fields.values.get(key), `"${key}"`) ?? '';
  }

  #texts(key: string): string[] {
    return this.#yaml.texts(this.#fields.values.get(key), `"${key}"`);
  }

  #count(key: string): number {
    const count = this.#yaml.number(this.#fields.values.get(key), `"${key}"`) ?? 0;
    if (count < 0) this.#error(key, `"${key}" must not be negative`);
    return count;
  }

  /** At a key's value, or at the action that lacks it. */
  #error(key: string, message: string): void {
    this.#yaml.error(this.#fields.values.get(key)?.offset ?? this.#fields.offset, message);
  }
}

/** Indices of actions with the id of an earlier one. */
function repeated(actions: readonly ListedAction[]): number[] {
  const seen = new Set<string>();
  return actions.flatMap(({ action: { workflowId, id } }, index) => {
    const key = JSON.stringify([workflowId, id]);
    if (seen.has(key)) return [index];
    seen.add(key);
    return [];
  });
}

const attemptSuffix = /\.attempt-(\d+)$/;

/**
 * The id of an attempt at an action. Each has its own, because whatever is on record of an attempt
 * that failed must not be taken for the next one's.
 */
export function idOfAttempt(id: string, attempt: number): string {
  return attempt === 1 ? id : `${id}.attempt-${attempt}`;
}

/** The opposite of {@link idOfAttempt}. */
export function parseAttemptId(attemptId: string): { readonly id: string; readonly attempt: number } {
  const [suffix = '', attempt = '1'] = attemptSuffix.exec(attemptId) ?? [];
  return { id: attemptId.slice(0, attemptId.length - suffix.length), attempt: Number(attempt) };
}
