import { access, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parse as parseYaml } from 'yaml';
import { z } from 'zod';
import type { Arguments } from './arguments.ts';
import { parseKernelCommandLine } from './kernel-cmdline.ts';
import type { NatsServer } from './setting-values.ts';
import { type Config, ignoredFlags, type SettingKey, schema, settings } from './settings.ts';

/** The configuration cannot be used. The message has one line for each thing that is wrong, and names where each came from. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** A {@link Config} with all that the agent cannot do without. */
export type CompleteConfig = ServerConfig | NatsConfig | FileConfig;

/** To work for a tink server. */
export type ServerConfig = Config & {
  readonly transport: 'grpc';
  readonly workerId: string;
  readonly grpcAuthority: string;
};

/** To work for whoever sends lists of actions by way of a NATS server. */
export type NatsConfig = Config & {
  readonly transport: 'nats';
  readonly workerId: string;
  readonly natsServer: NatsServer;
};

/** To run a template from a file. */
export type FileConfig = Config & { readonly transport: 'file'; readonly template: string };

/** Where the value of a setting came from, for people: `flag --id`, `environment variable WORKER_ID`, … */
type Source = string;

interface Given {
  readonly value: unknown;
  readonly source: Source;
}

type GivenSettings = ReadonlyMap<SettingKey, Given>;

export interface LoadedConfig {
  readonly config: CompleteConfig;
  /** Which settings were given, and where. Those that are missing have their default. */
  readonly sources: ReadonlyMap<SettingKey, Source>;
}

/** Where tink-worker looks for its configuration file. */
const workerDirectory = '/etc/tinkerbell';

/**
 * Reads the configuration: defaults, then the configuration file, the kernel command line, the environment, the flags; what comes later wins.
 * An empty environment variable or kernel parameter with an empty value counts as not given, because scripts pass on variables that are not set.
 *
 * @param directory where `tink-worker.yaml`, `.yml`, `.json` or `.toml` is the configuration file when none is named
 * @throws {ConfigError} for values that cannot be, settings that are missing, and files that cannot be read
 */
export async function loadConfig(
  given: Arguments,
  environment: Readonly<Record<string, string | undefined>>,
  directory = workerDirectory,
): Promise<LoadedConfig> {
  const kernelFile = given.kernelCommandLine ?? environment['NIBS_KERNEL_COMMAND_LINE'];
  const kernel = parseKernelCommandLine(await readKernelCommandLine(kernelFile));
  const named = given.config ?? environment['NIBS_CONFIG'] ?? kernel.get('nibs_config');
  const configFile = named ?? (await workerFileIn(directory));

  const layers = [
    configFile === undefined ? new Map<SettingKey, Given>() : await fromFile(configFile),
    fromKernel(kernel),
    fromEnvironment(environment),
    fromFlags(given),
  ];
  return resolve(new Map(layers.flatMap((layer) => [...layer])));
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

async function readKernelCommandLine(file: string | undefined): Promise<string> {
  try {
    return await readFile(file ?? '/proc/cmdline', 'utf8');
  } catch (error) {
    // A container may be started without /proc; then there is no such source. A file that somebody named has to be there.
    if (file === undefined) return '';
    throw new ConfigError(`cannot read the kernel command line from ${file}: ${reasonOf(error)}`, { cause: error });
  }
}

async function fromFile(file: string): Promise<GivenSettings> {
  const keys = new Map<string, SettingKey>(
    settings.flatMap(({ key, names }) => [key, ...names.flags].map((name) => [name, key] as const)),
  );
  let content: Record<string, unknown>;
  try {
    content = z
      .record(z.string(), z.unknown(), 'must be a mapping of settings')
      .parse((await readerOf(file))(await readFile(file, 'utf8')) ?? {});
  } catch (error) {
    throw new ConfigError(`cannot read the configuration file ${file}: ${reasonOf(error)}`, { cause: error });
  }
  const found = new Map<SettingKey, Given>();
  for (const [name, value] of Object.entries(content)) {
    if (Object.hasOwn(ignoredFlags, name)) continue;
    const key = keys.get(name);
    if (key === undefined)
      throw new ConfigError(`configuration file ${file}: there is no setting ${name} (see --help)`);
    if (value !== null)
      found.set(key, {
        value: typeof value === 'number' ? String(value) : value,
        source: `${name} in the file ${file}`,
      });
  }
  return found;
}

/** JSON is YAML, so that one reader serves both. */
async function readerOf(file: string): Promise<(text: string) => unknown> {
  return file.endsWith('.toml') ? (await import('smol-toml')).parse : parseYaml;
}

function fromKernel(kernel: ReadonlyMap<string, string>): GivenSettings {
  const found = new Map<SettingKey, Given>();
  for (const { key, names } of settings) {
    for (const name of names.kernel) {
      const value = kernel.get(name);
      // A switch may stand there alone; everything else without a value was not meant.
      if (value === undefined || (value === '' && names.value !== undefined)) continue;
      found.set(key, { value, source: `kernel command line, ${name}` });
    }
  }
  return found;
}

function fromEnvironment(environment: Readonly<Record<string, string | undefined>>): GivenSettings {
  const found = new Map<SettingKey, Given>();
  for (const { key, names } of settings) {
    for (const name of names.environment) {
      const value = environment[name];
      if (value !== undefined && value !== '') found.set(key, { value, source: `environment variable ${name}` });
    }
  }
  return found;
}

function fromFlags(given: Arguments): GivenSettings {
  return new Map([...given.flags].map(([key, { value, flag }]) => [key, { value, source: `flag ${flag}` }]));
}

function resolve(given: GivenSettings): LoadedConfig {
  const parsed = schema.safeParse(Object.fromEntries([...given].map(([key, { value }]) => [key, value])));
  if (!parsed.success) throw new ConfigError(parsed.error.issues.map((issue) => problem(issue, given)).join('\n'));
  return {
    config: complete({ ...parsed.data, workerId: parsed.data.workerId ?? parsed.data.bootMac }),
    sources: new Map([...given].map(([key, { source }]) => [key, source])),
  };
}

function complete(config: Config): CompleteConfig {
  const { transport, template, grpcAuthority, natsServer, workerId } = config;
  const missing = (...problems: (string | false)[]) => new ConfigError(problems.filter(Boolean).join('\n'));
  const nobody = workerId === undefined && noWorkerId;
  switch (transport) {
    case 'file':
      if (template === undefined) throw missing(noTemplate);
      return { ...config, transport, template };
    case 'grpc':
      if (grpcAuthority === undefined || workerId === undefined)
        throw missing(grpcAuthority === undefined && noServer, nobody);
      return { ...config, transport, workerId, grpcAuthority };
    case 'nats':
      if (natsServer === undefined || workerId === undefined)
        throw missing(natsServer === undefined && noNatsServer, nobody);
      return { ...config, transport, workerId, natsServer };
  }
}

/** Where work comes from, for people; `undefined`: from a file. */
export function serverOf({ transport, grpcAuthority, natsServer }: Config): string | undefined {
  return transport === 'nats' ? natsServer?.toString() : grpcAuthority;
}

const noTemplate = 'no template is named: with --transport file, --template says which one to run';

const noServer =
  'no server is named: give its host:port as grpc_authority= on the kernel command line, as environment variable TINKERBELL_GRPC_AUTHORITY or as flag --tinkerbell-grpc-authority';

const noNatsServer = 'no server is named: with --transport nats, --nats-server says where it is';

const noWorkerId =
  'it is not known who this machine is: give worker_id= (or the MAC address of the boot interface as hw_addr=, packet_bootdev_mac= or BOOTIF=) on the kernel command line, environment variable WORKER_ID or flag --id';

function problem(issue: z.core.$ZodIssue, given: GivenSettings): string {
  const setting = settings.find(({ key }) => key === issue.path[0]);
  if (setting === undefined) return issue.message;
  const { value, source } = given.get(setting.key) ?? { value: undefined, source: 'default' };
  const shown = ['registryPassword', 'registries', 'values', 'natsServer'].includes(setting.key)
    ? '***'
    : JSON.stringify(value);
  return `${setting.names.flags[0]} (${source}): ${issue.message}; it is ${shown}`;
}

/** Why something failed, on one line. */
function reasonOf(error: unknown): string {
  if (error instanceof z.ZodError) return error.issues.map((issue) => issue.message).join(', ');
  return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error);
}

/** The configuration as people may see it: one line a setting, with where it came from, secrets as `***`. */
export function describeConfig({ config, sources }: LoadedConfig): string {
  return settings
    .map(
      ({ key, names }) =>
        `${names.flags[0]} = ${String(config[key] ?? '(not set)')}  # ${sources.get(key) ?? 'default'}\n`,
    )
    .join('');
}
