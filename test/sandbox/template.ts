/**
 * Templates as tink servers take them: text with variables, YAML, and the rules that differ between
 * versions.
 */
import { parseDocument } from 'yaml';
import { z } from 'zod';

/** A template with its variables filled in and its tasks resolved into actions. */
export interface Template {
  readonly name: string;
  /** Stored and never enforced, as these servers do. */
  readonly globalTimeoutSeconds: number;
  readonly tasks: readonly Task[];
}

export interface Task {
  readonly name: string;
  /**
   * As the template says: a MAC address, an IPv4 address, or (v0.7 and later, on Kubernetes) any
   * text.
   */
  readonly worker: string;
  readonly actions: readonly TaskAction[];
}

/** An action with what it inherits from its task. */
export interface TaskAction {
  readonly name: string;
  readonly image: string;
  /** 0: none given. */
  readonly timeoutSeconds: number;
  readonly command: string[];
  readonly onTimeout: string[];
  readonly onFailure: string[];
  readonly volumes: string[];
  /** `NAME=value` */
  readonly environment: string[];
  readonly pid: string;
  /** Network namespace (`v0.10`). */
  readonly network: string;
}

export class TemplateError extends Error {
  override readonly name = 'TemplateError';
}

/**
 * `v0.1`: only what v0.1.0 checked. `v0.2`: also version, number of tasks and empty names. `v0.7`,
 * on Kubernetes: an action's volumes come after its task's whatever their sources are, and the
 * environment is sorted. `v0.10`, to this day: as v0.7, but unknown keys and the version do not
 * matter; namespaces.
 */
export type TemplateRules = 'v0.1' | 'v0.2' | 'v0.7' | 'v0.10';

/**
 * Fills in the variables of a template.
 *
 * The servers use Go's text/template; of that, `{{.name}}` is understood here, with or without
 * white space and trimming dashes. A variable without a value becomes `<no value>` in v0.1.0 and is
 * an error later, as in the originals.
 *
 * @throws {TemplateError} something else stands between the braces, or a value is missing (`v0.2`
 *   and later).
 */
export function render(text: string, values: Readonly<Record<string, string>>, rules: TemplateRules): string {
  return text.replace(/(\s*\{\{-\s|\{\{)([\s\S]*?)(\s-\}\}\s*|\}\})/g, (_match, _open, inside: string) => {
    const name = /^\s*\.([A-Za-z_][A-Za-z0-9_]*)\s*$/.exec(inside)?.[1];
    if (name === undefined) throw new TemplateError(`cannot render {{${inside}}}: only {{.name}} is understood`);
    const value = Object.hasOwn(values, name) ? values[name] : undefined;
    if (value === undefined && rules !== 'v0.1') throw new TemplateError(`template has no value for key "${name}"`);
    return value ?? '<no value>';
  });
}

/** @throws {TemplateError} with the reason, one a line. */
export function parseTemplate(yaml: string, rules: TemplateRules): Template {
  // Every scalar as the text it is: the originals decode into strings too, so that `0.1` and
  // `'0.1'` mean the same.
  const document = parseDocument(yaml, { schema: 'failsafe', uniqueKeys: true });
  if (document.errors.length > 0) throw new TemplateError(document.errors.map(({ message }) => message).join('\n'));
  const parsed = templateSchema(rules).safeParse(document.toJS());
  if (!parsed.success) throw new TemplateError(z.prettifyError(parsed.error));
  const { name, global_timeout, tasks } = parsed.data;
  return { name, globalTimeoutSeconds: global_timeout, tasks: tasks.map((task) => resolveTask(task, rules)) };
}

/**
 * Grammar of an image reference, after normalisation (distribution/reference,
 * `ParseNormalizedNamed`): optional domain (known by its dot or port), lower-case path, optional
 * tag, optional digest.
 */
const DOMAIN =
  '(?:(?=localhost[:/]|[^/]*[.:][^/]*/)(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]*[a-zA-Z0-9])?|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?/)?';
const PATH_PART = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const IMAGE = new RegExp(
  `^${DOMAIN}${PATH_PART}(?:/${PATH_PART})*(?::[\\w][\\w.-]{0,127})?(?:@[A-Za-z][A-Za-z0-9]*:[0-9a-fA-F]{32,})?$`,
);

/** An absent or empty node decodes to the zero value, as in Go. */
function orEmpty<Schema extends z.ZodType>(schema: Schema) {
  return z.preprocess((value) => (value === '' || value === '~' || value === 'null' ? undefined : value), schema);
}

const strings = orEmpty(z.array(z.string()).default([]));
const variables = orEmpty(z.record(z.string(), z.string()).default({}));
const seconds = orEmpty(
  z
    .string()
    .regex(/^-?\d+$/, 'must be a whole number of seconds')
    .transform(Number)
    .default(0),
);

const namespaces = z.object({ network: z.string().default(''), pid: z.string().default('') }).optional();

function templateSchema(rules: TemplateRules) {
  const longest = rules === 'v0.1' ? 200 : 199;
  const anyName = z
    .string()
    .default('')
    .refine((name) => Buffer.byteLength(name) <= longest, `is longer than ${longest} bytes`);
  const name = rules === 'v0.1' ? anyName : anyName.refine((text) => text !== '', 'must not be empty');
  // z.never(): no other keys.
  const others = rules === 'v0.10' ? z.unknown() : z.never();
  const action = z
    .object({
      name,
      image: z.string().regex(IMAGE, 'is not an image reference'),
      timeout: seconds,
      command: strings,
      'on-timeout': strings,
      'on-failure': strings,
      volumes: strings,
      environment: variables,
      pid: z.string().default(''),
      namespaces: rules === 'v0.10' ? namespaces : z.undefined().optional(),
    })
    .catchall(others);
  const task = z
    .object({
      name,
      worker: z.string().default(''),
      volumes: strings,
      environment: variables,
      actions: orEmpty(z.array(action).default([])).refine(distinctNames, 'has two actions of the same name'),
    })
    .catchall(others);
  return z
    .object({
      version: rules === 'v0.1' || rules === 'v0.10' ? z.string().default('') : z.literal('0.1'),
      name,
      id: z.string().optional(),
      global_timeout: seconds,
      tasks: orEmpty(z.array(task).default([]))
        .refine(distinctNames, 'has two tasks of the same name')
        .refine((tasks) => rules === 'v0.1' || tasks.length > 0, 'must have at least one task'),
    })
    .catchall(others);
}

function distinctNames(things: readonly { readonly name: string }[]): boolean {
  return new Set(things.map(({ name }) => name)).size === things.length;
}

type ParsedTask = z.infer<ReturnType<typeof templateSchema>>['tasks'][number];

function resolveTask(task: ParsedTask, rules: TemplateRules): Task {
  const onKubernetes = rules === 'v0.7' || rules === 'v0.10';
  return {
    name: task.name,
    worker: task.worker,
    actions: task.actions.map((action) => ({
      name: action.name,
      image: action.image,
      timeoutSeconds: action.timeout,
      command: action.command,
      onTimeout: action['on-timeout'],
      onFailure: action['on-failure'],
      volumes: onKubernetes ? [...task.volumes, ...action.volumes] : mergeVolumes(task.volumes, action.volumes),
      environment: mergeEnvironment(task.environment, action.environment, onKubernetes),
      pid: action.namespaces?.pid || action.pid,
      network: action.namespaces?.network ?? '',
    })),
  };
}

type Variables = Readonly<Record<string, string>>;

function mergeEnvironment(ofTask: Variables, ofAction: Variables, sorted: boolean): string[] {
  const merged = Object.entries({ ...ofTask, ...ofAction }).map(([key, value]) => `${key}=${value}`);
  return sorted ? merged.sort() : merged;
}

/**
 * An action's volume takes the place of the task's with the same source. A volume without a target
 * becomes `source:`, as in the originals.
 */
function mergeVolumes(ofTask: readonly string[], ofAction: readonly string[]): string[] {
  const targets = new Map<string, string>();
  for (const volume of [...ofTask, ...ofAction]) {
    const [source = '', ...target] = volume.split(':');
    targets.set(source, target.join(':'));
  }
  return Array.from(targets, ([source, target]) => `${source}:${target}`);
}
