import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { reasonOf } from '../../errors/reason.ts';
import type { Arguments } from './arguments.ts';
import { parseKernelCommandLine } from './kernel-cmdline.ts';
import { ignoredFlags, type SettingKey, settings } from './settings.ts';

/**
 * The configuration cannot be used. The message has one line for each thing that is wrong, and
 * names where each came from.
 */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** A value of a setting and where it came from. */
export interface Given {
  readonly value: unknown;
  /** For people: `flag --id`, `environment variable WORKER_ID`, … */
  readonly source: string;
  /** A person typed it: a mistake in it is refused, where that of another source is only named. */
  readonly isTyped: boolean;
}

export interface Sources {
  /** For each setting all its values that are not empty; a later one wins over an earlier one. */
  readonly given: ReadonlyMap<SettingKey, readonly Given[]>;
  /** What of the sources could not be read or is not known, a line each. */
  readonly problems: readonly string[];
}

/** Where tink-worker looks for its configuration file. */
const workerDirectory = '/etc/tinkerbell';

/**
 * Collects what the sources say: the configuration file, the kernel command line, the environment,
 * the flags. An empty value counts as not given, because scripts pass on variables that are not
 * set.
 *
 * @param directory where `tink-worker.yaml`, `.yml`, `.json` or `.toml` is the configuration file
 *   when none is named
 * @throws {ConfigError} a file that a flag names cannot be read
 */
export async function readSources(
  flags: Arguments,
  environment: Readonly<Record<string, string | undefined>>,
  directory = workerDirectory,
): Promise<Sources> {
  const problems: string[] = [];
  const kernel = await lenient(flags.kernelCommandLine === undefined, problems, new Map<string, string | true>(), () =>
    readKernel(flags.kernelCommandLine || environment['NIBS_KERNEL_COMMAND_LINE'] || undefined),
  );
  const kernelFile = kernel.get('nibs_config');
  const named =
    flags.config || environment['NIBS_CONFIG'] || (typeof kernelFile === 'string' && kernelFile) || undefined;
  const file = named ?? (await workerFileIn(directory));
  const content = await lenient(flags.config === undefined, problems, {}, async () =>
    file === undefined ? {} : await readSettings(file),
  );
  const layers = [
    fromFile(file ?? '', content, problems),
    fromKernel(kernel),
    fromEnvironment(environment),
    fromFlags(flags),
  ];
  const given = new Map<SettingKey, Given[]>();
  for (const [key, one] of layers.flat()) {
    if (typeof one.value === 'string' && one.value.trim() === '') continue;
    given.set(key, [...(given.get(key) ?? []), one]);
  }
  return { given, problems };
}

/** Reads; what goes wrong is a problem, or an error if it is not to be borne. */
async function lenient<Result>(
  isLenient: boolean,
  problems: string[],
  otherwise: Result,
  read: () => Promise<Result>,
): Promise<Result> {
  try {
    return await read();
  } catch (error) {
    if (!isLenient || !(error instanceof ConfigError)) throw error;
    problems.push(`${error.message}; it is ignored`);
    return otherwise;
  }
}

async function workerFileIn(directory: string): Promise<string | undefined> {
  for (const ending of ['yaml', 'yml', 'json', 'toml']) {
    const file = join(directory, `tink-worker.${ending}`);
    const isThere = await access(file).then(
      () => true,
      () => false,
    );
    if (isThere) return file;
  }
  return undefined;
}

async function readKernel(file: string | undefined): Promise<ReadonlyMap<string, string | true>> {
  try {
    return parseKernelCommandLine(await readFile(file ?? '/proc/cmdline', 'utf8'));
  } catch (error) {
    // A container may be started without /proc; then there is no such source. A file that was named
    // has to be there.
    if (file === undefined) return new Map();
    throw new ConfigError(`cannot read the kernel command line from ${file}: ${firstReasonOf(error)}`, {
      cause: error,
    });
  }
}

async function readSettings(file: string): Promise<Readonly<Record<string, unknown>>> {
  try {
    return z
      .record(z.string(), z.unknown(), 'must be a mapping of settings')
      .parse((await readerOf(file))(await readFile(file, 'utf8')) ?? {});
  } catch (error) {
    throw new ConfigError(`cannot read the configuration file ${file}: ${firstReasonOf(error)}`, { cause: error });
  }
}

/**
 * JSON is YAML, so that one reader serves both. Most agents have no such file, and do without the
 * memory for its reader.
 */
async function readerOf(file: string): Promise<(text: string) => unknown> {
  if (file.endsWith('.toml')) return (await import('smol-toml')).parse;
  const { parse } = await import('yaml');
  // Its warnings would be printed beside the log.
  return (text) => parse(text, { logLevel: 'error' });
}

type Layer = readonly (readonly [SettingKey, Given])[];

function fromFile(file: string, content: Readonly<Record<string, unknown>>, problems: string[]): Layer {
  const keys = new Map<string, SettingKey>(
    settings.flatMap(({ key, names }) => [key, ...names.flags].map((name) => [name, key] as const)),
  );
  const found: [SettingKey, Given][] = [];
  for (const [name, value] of Object.entries(content)) {
    if (Object.hasOwn(ignoredFlags, name)) continue;
    const key = keys.get(name);
    if (key === undefined) {
      problems.push(`configuration file ${file}: there is no setting ${name} (see --help); it is ignored`);
    } else if (value !== null) {
      const source = `${name} in the file ${file}`;
      found.push([key, { value: typeof value === 'number' ? String(value) : value, source, isTyped: false }]);
    }
  }
  return found;
}

function fromKernel(kernel: ReadonlyMap<string, string | true>): Layer {
  return settings.flatMap(({ key, names }) =>
    names.kernel.flatMap((name): Layer => {
      const value = kernel.get(name);
      // A switch may stand there alone; everything else without a value was not meant.
      if (value === undefined || (value === true && names.value !== undefined)) return [];
      return [[key, { value, source: `kernel command line, ${name}`, isTyped: false }]];
    }),
  );
}

function fromEnvironment(environment: Readonly<Record<string, string | undefined>>): Layer {
  return settings.flatMap(({ key, names }) =>
    names.environment.map((name): readonly [SettingKey, Given] => [
      key,
      { value: environment[name] ?? '', source: `environment variable ${name}`, isTyped: false },
    ]),
  );
}

function fromFlags(given: Arguments): Layer {
  return [...given.flags].map(([key, { value, flag }]) => [key, { value, source: `flag ${flag}`, isTyped: true }]);
}

/** Why something failed, on one line. */
function firstReasonOf(error: unknown): string {
  if (error instanceof z.ZodError) return error.issues.map((issue) => issue.message).join(', ');
  return reasonOf(error).split('\n', 1).join();
}
