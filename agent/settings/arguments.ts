import { Command, CommanderError, Option } from 'commander';
import { type Shell, shells } from '../../completion/script.ts';
import { helpLayout } from '../../text/help-layout.ts';
import type { Names } from './names.ts';
import { ignoredFlags, type SettingKey, settings } from './settings.ts';
import { repetition } from './values.ts';

/** An unknown flag, or one without its value. */
export class ArgumentError extends Error {
  override readonly name = 'ArgumentError';
}

export interface Arguments {
  /** Values as they were given, and the flag as it was written. */
  readonly flags: ReadonlyMap<SettingKey, { readonly value: string; readonly flag: string }>;
  /** File with settings. */
  readonly config: string | undefined;
  /** File to read instead of `/proc/cmdline`. */
  readonly kernelCommandLine: string | undefined;
  readonly help: boolean;
  readonly printConfig: boolean;
  /** Shell whose completions are to be printed. */
  readonly completion: Shell | undefined;
  /** What to do instead of work. */
  readonly command: AgentCommand | undefined;
}

/** A word in front of the flags. */
export type AgentCommand =
  | {
      readonly name: 'doctor';
      readonly json: boolean;
      /** To pull as an action would. */
      readonly image: string | undefined;
    }
  | {
      readonly name: 'explain';
      readonly json: boolean;
      /** Of settings; none: all. */
      readonly settings: readonly string[];
    };

/** Flags that are about the settings rather than settings. */
export const metaFlags = {
  config: {
    value: 'FILE',
    description:
      'Configuration file (YAML or JSON, TOML if its name ends in .toml; keys are the long flags). Default: the first of tink-worker.yaml, .yml, .json and .toml in /etc/tinkerbell that exists. Also NIBS_CONFIG, nibs_config=.',
  },
  'kernel-command-line': {
    value: 'FILE',
    description: 'File to read instead of /proc/cmdline. Only as a flag or NIBS_KERNEL_COMMAND_LINE.',
  },
  'print-config': {
    value: undefined,
    description: 'Print the values in force and their sources, then exit.',
  },
  completion: { value: shells.join('|'), description: 'Print the completions of a shell, then exit.' },
  json: { value: undefined, description: 'With doctor and explain: print JSON.' },
  image: { value: 'NAME', description: 'With doctor: an image that the engine pulls as for an action.' },
  version: { value: undefined, description: 'Print the version, then exit.' },
  help: { value: undefined, description: 'Print this help, then exit.' },
} as const;

/** What the command line means by one of the names of a flag. */
interface Flag {
  /** The name under which commander knows it. */
  readonly preferred: string;
  readonly takesValue: boolean;
}

const flagsByName: ReadonlyMap<string, Flag> = new Map([
  ...settings.flatMap(({ names }) =>
    [...names.flags, ...(names.letter === undefined ? [] : [names.letter])].map((name): [string, Flag] => [
      name,
      { preferred: names.flags[0], takesValue: names.value !== undefined },
    ]),
  ),
  ...Object.entries(metaFlags).map(([name, { value }]): [string, Flag] => [
    name,
    { preferred: name, takesValue: value !== undefined },
  ]),
  ...Object.entries(ignoredFlags).map(([name, takesValue]): [string, Flag] => [name, { preferred: name, takesValue }]),
  ['h', { preferred: 'help', takesValue: false }],
]);

/**
 * Reads the flags. Long flags may begin with one dash or two and have their value after `=` or as
 * the next word, as Go's packages flag and pflag have it.
 *
 * @throws {ArgumentError} for unknown flags, missing values and words that are no flag
 */
export function parseArguments(argv: readonly string[]): Arguments {
  const { name, names, flags: flagWords } = splitCommand(argv);
  const { words, written } = normalise(flagWords);
  const command = withAllNames(createCommand('tink-agent'))
    .exitOverride()
    .configureOutput({ writeErr: () => {} });
  try {
    command.parse(words, { from: 'user' });
  } catch (error) {
    if (error instanceof CommanderError)
      throw new ArgumentError(error.message.replace(/^error: /, '').replaceAll('\n', ' '), { cause: error });
    throw error;
  }
  const values = command.opts<Readonly<Record<string, string | true | undefined>>>();
  const textOf = (name: string) => (typeof values[name] === 'string' ? values[name] : undefined);
  const flags = new Map<SettingKey, { value: string; flag: string }>();
  for (const { key, names } of settings) {
    const value = values[optionOf(names).attributeName()];
    if (value !== undefined)
      flags.set(key, { value: value === true ? 'true' : value, flag: written.get(names.flags[0]) ?? '' });
  }
  const json = values['json'] === true;
  const image = textOf('image');
  if (json && name === undefined) throw new ArgumentError('--json is for the commands doctor and explain');
  if (image !== undefined && name !== 'doctor') throw new ArgumentError('--image is for the command doctor');
  return {
    flags,
    command:
      name === undefined ? undefined : name === 'doctor' ? { name, json, image } : { name, json, settings: names },
    config: textOf('config'),
    kernelCommandLine: textOf('kernelCommandLine'),
    help: values['help'] === true,
    printConfig: values['printConfig'] === true,
    completion: shellOf(textOf('completion')),
  };
}

function shellOf(text: string | undefined): Shell | undefined {
  const shell = shells.find((one) => one === text);
  if (shell === undefined && text !== undefined)
    throw new ArgumentError(`option '--completion' does not know '${text}': give one of ${shells.join(', ')}`);
  return shell;
}

/**
 * The further names of flags, which {@link normalise} translates: commander compares unknown flags
 * with them too, and suggests the nearest.
 */
function withAllNames(command: Command): Command {
  for (const { names } of settings)
    for (const flag of names.flags.slice(1)) command.addOption(new Option(`--${flag} [value]`));
  return command;
}

/** Takes the command off, and the names of settings that follow `explain`. */
function splitCommand(argv: readonly string[]): {
  readonly name: AgentCommand['name'] | undefined;
  readonly names: readonly string[];
  readonly flags: readonly string[];
} {
  const [name, ...rest] = argv;
  if (name !== 'doctor' && name !== 'explain') return { name: undefined, names: [], flags: argv };
  const end = rest.findIndex((word) => word.startsWith('-'));
  const names = name === 'doctor' ? [] : rest.slice(0, end < 0 ? rest.length : end);
  return { name, names, flags: rest.slice(names.length) };
}

/**
 * Rewrites every known flag to its preferred name with two dashes and its value after `=`; what is
 * not known stays, for commander to refuse.
 */
function normalise(argv: readonly string[]): { words: string[]; written: ReadonlyMap<string, string> } {
  const words: string[] = [];
  const written = new Map<string, string>();
  const rest = [...argv];
  for (let word = rest.shift(); word !== undefined; word = rest.shift()) {
    const [, name = '', value] = /^--?([A-Za-z][^=]*)(?:=(.*))?$/s.exec(word) ?? [];
    const flag = flagsByName.get(name);
    if (flag === undefined) {
      // One dash and several letters are one long flag here, never several short ones.
      words.push(name === '' ? word : `--${name}`);
      continue;
    }
    written.set(flag.preferred, word.slice(0, word.length - (value === undefined ? 0 : value.length + 1)));
    const given = value ?? (flag.takesValue ? rest.shift() : undefined);
    words.push(given === undefined ? `--${flag.preferred}` : `--${flag.preferred}=${given}`);
  }
  return { words, written };
}

/**
 * The text of `--help`.
 * @param columns width of the terminal, of which at most 120 are used
 */
export function helpText(name: string, columns = 120): string {
  return createCommand(name)
    .configureHelp(helpLayout(Math.min(columns, 120)))
    .helpInformation();
}

/** The settings as a Markdown table: flags, environment variables and kernel parameters of each. */
export function settingsAsMarkdown(): string {
  const code = (words: readonly string[]) => words.map((word) => `\`${word}\``).join(' ');
  const rows = settings.map(({ names, defaultValue }) => {
    const flags = [
      ...names.flags.map((flag) => `--${flag}`),
      ...(names.letter === undefined ? [] : [`-${names.letter}`]),
    ];
    const initial = defaultValue === undefined ? '' : code([String(defaultValue)]);
    return `| ${code(flags)} | ${code(names.environment)} | ${code(names.kernel)} | ${initial} | ${names.description} |\n`;
  });
  return `| flags | environment | kernel command line | default | meaning |\n|---|---|---|---|---|\n${rows.join('')}`;
}

/**
 * Commander knows each flag by its preferred name only; {@link normalise} translates the others.
 */
export function createCommand(name: string): Command {
  const command = new Command(name)
    .usage(
      `[flags]\n       ${name} doctor [--json] [--image NAME] [flags]\n       ${name} explain [SETTING...] [--json] [flags]`,
    )
    .description(
      [
        'Executes workflows: gets actions from a tink server and runs each as a container.',
        'doctor checks settings, disks, engine, registries, server, TLS and clock, and says what to do; exit code 1 if it found an error. explain prints each setting with its value, source and meaning. Neither changes anything.',
        'Sources of settings, a later one overrides an earlier one: defaults, the configuration file, the kernel command line, the environment, flags. Each setting has three names of the same form: --log-level, NIBS_LOG_LEVEL in the environment, nibs_log_level= on the kernel command line. After "Also" are further names, from other programs.',
      ].join('\n\n'),
    )
    .helpOption(false)
    .allowExcessArguments(false);
  for (const { names, defaultValue } of settings)
    command.addOption(optionOf(names, defaultValue).helpGroup(`${names.group}:`));
  for (const [flag, { value, description }] of Object.entries(metaFlags)) {
    command.addOption(
      new Option(value === undefined ? `--${flag}` : `--${flag} <${value}>`, description).helpGroup('Configuration:'),
    );
  }
  for (const [flag, takesValue] of Object.entries(ignoredFlags)) {
    command.addOption(new Option(takesValue ? `--${flag} <value>` : `--${flag} [value]`).hideHelp());
  }
  return command;
}

function optionOf(names: Names, defaultValue?: unknown): Option {
  const [preferred, ...others] = names.flags;
  // The last of each list is ours; the description of the program has the rule for it.
  const also = [
    ...others.map((flag) => `--${flag}`),
    ...(names.letter === undefined ? [] : [`-${names.letter}`]),
    ...names.environment.slice(0, -1),
    ...names.kernel.slice(0, -1).map((key) => `${key}=`),
  ];
  const initial = defaultValue === undefined ? '' : ` Default: ${String(defaultValue)}.`;
  const description = `${names.description}${initial}${also.length > 0 ? ` Also ${also.join(', ')}.` : ''}`;
  // A switch may have a value, so that one that is on can be switched off.
  const option = new Option(
    names.value === undefined ? `--${preferred} [BOOLEAN]` : `--${preferred} <${names.value}>`,
    description,
  );
  if (!names.repeatable) return option;
  return option.argParser((value: string, earlier: string | undefined) =>
    earlier === undefined ? value : `${earlier}${repetition}${value}`,
  );
}
