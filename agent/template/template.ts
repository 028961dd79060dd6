/**
 * Templates as the current server takes them: text with variables, which make a YAML document of
 * tasks and actions. An action comes out with what it inherits from its task.
 */
import { LineCounter } from 'yaml';
import { ImageReferenceError, parseReference } from '../../registry/image-reference.ts';
import type { TemplateEngine } from './engine/engine.ts';
import { type Diagnostic, type Problem, RenderError, TemplateError } from './problem.ts';
import { render, type TemplateData } from './render.ts';
import { type Mapping, YamlReader, type YamlValue } from './yaml.ts';

/** A template with its variables filled in. */
export interface Template {
  readonly name: string;
  /** 0: none given. */
  readonly globalTimeoutSeconds: number;
  /** At least one; their names differ. */
  readonly tasks: readonly Task[];
}

export interface Task {
  readonly name: string;
  /** Worker ID that runs it: a MAC address or any other text. */
  readonly worker: string;
  /** Their names differ. */
  readonly actions: readonly TaskAction[];
}

/** An action with what it inherits from its task. */
export interface TaskAction {
  readonly name: string;
  readonly image: string;
  /** 0: none given. */
  readonly timeoutSeconds: number;
  readonly command: readonly string[];
  readonly onTimeout: readonly string[];
  readonly onFailure: readonly string[];
  /** Those of the task, then those of the action. */
  readonly volumes: readonly string[];
  /** `NAME=value`, sorted; a variable of the action takes the place of the task's. */
  readonly environment: readonly string[];
  readonly pidMode: string | undefined;
  readonly networkMode: string | undefined;
}

export interface ReadTemplate {
  readonly template: Template;
  /** What servers pass over without a word, or treat in a way that surprises. */
  readonly warnings: readonly Problem[];
}

/**
 * @param text The template
 * @param data What it is filled in with
 * @param source Its name in messages, for example the path of its file
 * @throws {TemplateError} with everything that is wrong
 */
export function readTemplate(engine: TemplateEngine, text: string, data: TemplateData, source: string): ReadTemplate {
  const lines = lineCounter(text);
  const at = ({ offset, message }: Diagnostic): Problem => {
    const { line, col } = lines.linePos(offset);
    return { line, column: col, message };
  };
  try {
    const { document, originOf } = render(engine, text, data);
    const located = (diagnostics: readonly Diagnostic[]) =>
      diagnostics
        .toSorted((a, b) => a.offset - b.offset)
        .map(({ offset, message }) => at({ offset: originOf(offset), message }));
    const yaml = new YamlReader(document);
    const template = readWorkflow(yaml);
    // What the controller's own decoder has found says less; it counts where nothing was found
    // here.
    const errors = yaml.errors.length > 0 ? yaml.errors : document.errors;
    if (template === undefined || errors.length > 0) throw TemplateError.of(source, located(errors));
    return { template, warnings: located(yaml.warnings) };
  } catch (error) {
    if (error instanceof RenderError) throw TemplateError.of(source, [at(error)]);
    throw error;
  }
}

function lineCounter(text: string): LineCounter {
  const lines = new LineCounter();
  lines.addNewLine(0);
  for (let index = text.indexOf('\n'); index >= 0; index = text.indexOf('\n', index + 1)) lines.addNewLine(index + 1);
  return lines;
}

function readWorkflow(yaml: YamlReader): Template | undefined {
  const root = yaml.root();
  if (root === undefined && yaml.errors.length === 0) yaml.error(0, 'the template is empty');
  const fields = yaml.mapping(root, 'the template', ['version', 'name', 'id', 'global_timeout', 'tasks']);
  if (fields === undefined) return undefined;
  const name = readName(yaml, fields, 'the template');
  const globalTimeoutSeconds = readTimeout(yaml, fields, 'global_timeout', 'the template');
  const tasks = yaml.mappings(fields.values.get('tasks'), '"tasks"', 'a task', taskKeys);
  if (tasks.length === 0) yaml.error(offsetOf(fields, 'tasks'), 'the template must have at least one task');
  return { name, globalTimeoutSeconds, tasks: readAll(yaml, 'task', tasks, (task) => readTask(yaml, task)) };
}

const taskKeys = ['name', 'worker', 'volumes', 'environment', 'actions'];

function readTask(yaml: YamlReader, fields: Mapping): Task {
  const name = readName(yaml, fields, 'the task');
  const worker = readRequired(yaml, fields, 'worker', 'the task must name its worker');
  const inherited = {
    volumes: yaml.texts(fields.values.get('volumes'), '"volumes"'),
    environment: readEnvironment(yaml, fields),
  };
  const actions = yaml.mappings(fields.values.get('actions'), '"actions"', 'an action', actionKeys);
  if (actions.length === 0) yaml.warn(offsetOf(fields, 'actions'), `the task "${name}" has no actions`);
  return { name, worker, actions: readAll(yaml, 'action', actions, (action) => readAction(yaml, action, inherited)) };
}

interface Inherited {
  readonly volumes: readonly string[];
  readonly environment: ReadonlyMap<string, string>;
}

const actionKeys = [
  ...['name', 'image', 'timeout', 'command', 'on-timeout', 'on-failure'],
  ...['volumes', 'environment', 'pid', 'namespaces'],
];

function readAction(yaml: YamlReader, fields: Mapping, inherited: Inherited): TaskAction {
  const texts = (key: string) => yaml.texts(fields.values.get(key), `"${key}"`);
  const namespaces = yaml.mapping(fields.values.get('namespaces'), '"namespaces"', ['network', 'pid']);
  const environment = new Map([...inherited.environment, ...readEnvironment(yaml, fields)]);
  return {
    name: readName(yaml, fields, 'the action'),
    image: readImage(yaml, fields),
    timeoutSeconds: readTimeout(yaml, fields, 'timeout', 'the action'),
    command: texts('command'),
    onTimeout: texts('on-timeout'),
    onFailure: texts('on-failure'),
    volumes: [...inherited.volumes, ...texts('volumes')],
    environment: Array.from(environment, ([name, value]) => `${name}=${value}`).sort(),
    pidMode:
      yaml.text(namespaces?.values.get('pid'), '"pid"') || yaml.text(fields.values.get('pid'), '"pid"') || undefined,
    networkMode: yaml.text(namespaces?.values.get('network'), '"network"') || undefined,
  };
}

/** Names of 200 bytes or more do not reach the server. */
const maxNameBytes = 199;

function readName(yaml: YamlReader, fields: Mapping, what: string): string {
  const name = readRequired(yaml, fields, 'name', `${what} must have a name`);
  const bytes = Buffer.byteLength(name);
  if (bytes > maxNameBytes)
    yaml.error(offsetOf(fields, 'name'), `the name must have less than ${maxNameBytes + 1} bytes, not ${bytes}`);
  return name;
}

function readImage(yaml: YamlReader, fields: Mapping): string {
  const image = readRequired(yaml, fields, 'image', 'the action must name an image');
  try {
    if (image !== '') parseReference(image);
  } catch (error) {
    if (!(error instanceof ImageReferenceError)) throw error;
    yaml.error(offsetOf(fields, 'image'), error.message);
  }
  return image;
}

function readTimeout(yaml: YamlReader, fields: Mapping, key: string, what: string): number {
  const seconds = yaml.number(fields.values.get(key), `"${key}"`) ?? 0;
  if (seconds <= 0)
    yaml.warn(
      offsetOf(fields, key),
      `${what} has no "${key}": current servers take that for a limit that is over at once`,
    );
  return Math.max(seconds, 0);
}

function readEnvironment(yaml: YamlReader, fields: Mapping): Map<string, string> {
  const values =
    yaml.mapping(fields.values.get('environment'), '"environment"')?.values ?? new Map<string, YamlValue>();
  return new Map(Array.from(values, ([name, value]) => [name, yaml.text(value, `the variable ${name}`) ?? '']));
}

/** Reads things whose names must differ. */
function readAll<Thing extends { readonly name: string }>(
  yaml: YamlReader,
  what: 'task' | 'action',
  all: readonly Mapping[],
  read: (fields: Mapping) => Thing,
): Thing[] {
  const names = new Set<string>();
  return all.map((fields) => {
    const thing = read(fields);
    const { name } = thing;
    if (names.has(name)) yaml.error(offsetOf(fields, 'name'), `there is a second ${what} of the name "${name}"`);
    if (name !== '') names.add(name);
    return thing;
  });
}

/** A text that is there and not empty; or the empty text, with the reason among the errors. */
function readRequired(yaml: YamlReader, fields: Mapping, key: string, missing: string): string {
  const value = fields.values.get(key);
  const text = yaml.text(value, `"${key}"`);
  if (value === undefined || text === '') yaml.error(offsetOf(fields, key), missing);
  return text ?? '';
}

/** Of a key's value, or of the mapping that lacks it. */
function offsetOf({ offset, values }: Mapping, key: string): number {
  return values.get(key)?.offset ?? offset;
}
