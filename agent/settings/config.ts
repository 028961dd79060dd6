import { maskCredentials } from '../log/credential-patterns.ts';
import type { Arguments } from './arguments.ts';
import { type Config, type SettingKey, schema, settings } from './settings.ts';
import { ConfigError, type Given, readSources } from './sources.ts';
import { type NatsServer, ProxyAddress } from './values.ts';

export { ConfigError } from './sources.ts';

/** A {@link Config} with the settings that its transport requires. */
export type CompleteConfig = ServerConfig | NatsConfig | FileConfig;

/** To work for a tink server. */
export type ServerConfig = Config & {
  readonly transport: 'grpc';
  readonly workerId: string;
  readonly grpcAuthority: string;
};

/** To execute lists of actions that a NATS server delivers. */
export type NatsConfig = Config & {
  readonly transport: 'nats';
  readonly workerId: string;
  readonly natsServer: NatsServer;
};

/** To run a template from a file. */
export type FileConfig = Config & { readonly transport: 'file'; readonly template: string };

/** A configuration that may lack what the agent needs to work. */
export interface LoadedSettings {
  readonly config: Config;
  /** Source of each value, for people. Settings without one have their default. */
  readonly sources: ReadonlyMap<SettingKey, string>;
  /** Values that are not used, and what is used instead, a line each; without secrets. */
  readonly warnings: readonly string[];
  /** For each setting the sources whose valid values another one overrides, the highest first. */
  readonly overridden: ReadonlyMap<SettingKey, readonly string[]>;
}

export interface LoadedConfig extends LoadedSettings {
  readonly config: CompleteConfig;
}

/**
 * Reads the configuration: defaults, configuration file, kernel command line, environment, flags. A
 * later source overrides an earlier one.
 *
 * There is no keyboard at a machine that boots from the network. An invalid value therefore does
 * not end the agent: a warning names it, and the value of the next lower source or the default is
 * used. An invalid flag, which a person typed, is an error. So is a missing server or worker ID.
 *
 * @param directory with `tink-worker.yaml`, `.yml`, `.json` or `.toml`, read if no configuration
 *   file is named
 * @throws {ConfigError} invalid flags, unreadable files that a flag names, missing settings
 */
export async function loadConfig(
  flags: Arguments,
  environment: Readonly<Record<string, string | undefined>>,
  directory?: string,
): Promise<LoadedConfig> {
  const loaded = await loadSettings(flags, environment, directory);
  try {
    return { ...loaded, config: complete(loaded.config) };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    // The missing value may have been given, but invalid.
    throw new ConfigError([...loaded.warnings, error.message].join('\n'));
  }
}

/**
 * As {@link loadConfig}, for a program that works without a server.
 * @throws {ConfigError} invalid flags, unreadable files that a flag names
 */
export async function loadSettings(
  flags: Arguments,
  environment: Readonly<Record<string, string | undefined>>,
  directory?: string,
): Promise<LoadedSettings> {
  const { given, problems } = await readSources(flags, environment, directory);
  const sources = new Map<SettingKey, string>();
  const values: [SettingKey, unknown][] = [];
  const proxies: [SettingKey, ProxyAddress][] = [];
  const refused: string[] = [];
  const warnings = [...problems];
  const overridden = new Map<SettingKey, readonly string[]>();
  for (const { key } of settings) {
    const { chosen, rejected, rest } = choose(key, given.get(key) ?? []);
    const valid = rest.filter((one) => problemOf(key, one) === undefined);
    if (valid.length > 0) {
      const sources = valid.map(({ source }) => source);
      overridden.set(key, sources);
    }
    if (chosen !== undefined) {
      values.push([key, chosen.value]);
      sources.set(key, chosen.source);
    }
    const unusable = chosen === undefined ? unusableProxy(key, rejected[0]) : undefined;
    if (unusable !== undefined) proxies.push([key, unusable]);
    for (const { problem, isTyped } of rejected) {
      if (isTyped) refused.push(problem);
      else warnings.push(`${problem}; ${unusable === undefined ? instead(key, chosen) : nothingPast}`);
    }
  }
  if (refused.length > 0) throw new ConfigError(refused.join('\n'));
  const config: Config = { ...schema.parse(Object.fromEntries(values)), ...Object.fromEntries(proxies) };
  return { config: { ...config, workerId: config.workerId ?? config.bootMac }, sources, warnings, overridden };
}

/** A value that is not used, and why. */
interface Rejected {
  readonly given: Given;
  readonly problem: string;
  readonly isTyped: boolean;
}

interface Choice {
  readonly chosen: Given | undefined;
  /** Invalid values of higher sources. */
  readonly rejected: readonly Rejected[];
  /** Values of lower sources, the highest first. */
  readonly rest: readonly Given[];
}

function choose(key: SettingKey, given: readonly Given[]): Choice {
  const rejected: Rejected[] = [];
  const byRank = given.toReversed();
  for (const [index, one] of byRank.entries()) {
    const problem = problemOf(key, one);
    if (problem === undefined) return { chosen: one, rejected, rest: byRank.slice(index + 1) };
    rejected.push({ given: one, problem, isTyped: one.isTyped });
  }
  return { chosen: undefined, rejected, rest: [] };
}

/** Why a value is invalid. */
function problemOf(key: SettingKey, { value, source }: Given): string | undefined {
  const why = isUnexpanded(key, value) ? 'the variable in it was not replaced by its value' : mistakeIn(key, value);
  return why && `${nameOf(key)} (${source}): ${why}; it is ${shown(key, value)}`;
}

function mistakeIn(key: SettingKey, value: unknown): string | undefined {
  return schema.shape[key]
    .safeParse(value)
    .error?.issues.map(({ message }) => message)
    .join(', ');
}

const proxyKeys: ReadonlySet<SettingKey> = new Set(['httpProxy', 'httpsProxy', 'allProxy']);
const nothingPast = 'nothing that would go through it is connected to';

/** A network with a proxy is not to be gone around: a wrong one is not the same as none. */
function unusableProxy(key: SettingKey, rejected: Rejected | undefined): ProxyAddress | undefined {
  if (rejected === undefined || !proxyKeys.has(key) || isUnexpanded(key, rejected.given.value)) return undefined;
  return new ProxyAddress(String(rejected.given.value), rejected.problem);
}

function instead(key: SettingKey, chosen: Given | undefined): string {
  const value: unknown = schema.shape[key].parse(chosen?.value);
  return `used instead: ${shownValue(value)} (${chosen?.source ?? 'default'})`;
}

/** Never shown; may contain any character. */
const secretSettings: ReadonlySet<SettingKey> = new Set([
  'registryPassword',
  'registries',
  'templateVariables',
  'natsServer',
]);
const freeTexts: ReadonlySet<SettingKey> = new Set([
  ...secretSettings,
  'kexecCmdline',
  'rebootCommand',
  'poweroffCommand',
]);

/**
 * Whether a boot script left a variable in the value, as iPXE does with an unknown `${net0/mac}`.
 */
function isUnexpanded(key: SettingKey, value: unknown): boolean {
  const variable = freeTexts.has(key) ? /^\$\{[\w:./-]+\}$/ : /\$\{[\w:./-]+\}/;
  return typeof value === 'string' && variable.test(value);
}

/** Without what looks like a secret, and not more than a person needs to find the mistake. */
function shown(key: SettingKey, value: unknown): string {
  if (secretSettings.has(key)) return '***';
  // All between scheme and last @: in an invalid URL nothing tells where the password ends.
  const json = JSON.stringify(value) ?? '';
  const text = maskCredentials(json.replace(/((?:(?<=")[a-z][\w+.-]{0,30}:\/\/)?)[^\s"]*@/gi, '$1***@'));
  return text.length <= maxShownCharacters ? text : `${text.slice(0, maxShownCharacters)}…`;
}

const maxShownCharacters = 200;

/** A valid value, which may be a URL with a password. */
function shownValue(value: unknown): string {
  return maskCredentials(String(value ?? '(not set)'));
}

function nameOf(key: SettingKey): string {
  return settings.find((setting) => setting.key === key)?.names.flags[0] ?? key;
}

/** What the transport of a configuration requires and it does not have, with what to do. */
export function missingSettings({ transport, template, grpcAuthority, natsServer, workerId }: Config): string[] {
  const missing = {
    file: [template === undefined && noTemplate],
    grpc: [grpcAuthority === undefined && noServer, workerId === undefined && noWorkerId],
    nats: [natsServer === undefined && noNatsServer, workerId === undefined && noWorkerId],
  }[transport];
  return missing.filter((problem) => problem !== false);
}

function complete(config: Config): CompleteConfig {
  const { transport, template, grpcAuthority, natsServer, workerId } = config;
  if (transport === 'file' && template !== undefined) return { ...config, transport, template };
  if (workerId !== undefined) {
    if (transport === 'grpc' && grpcAuthority !== undefined) return { ...config, transport, workerId, grpcAuthority };
    if (transport === 'nats' && natsServer !== undefined) return { ...config, transport, workerId, natsServer };
  }
  throw new ConfigError(missingSettings(config).join('\n'));
}

/** Address of the server, for people; `undefined` without a server. */
export function serverOf({ transport, grpcAuthority, natsServer }: Config): string | undefined {
  return transport === 'nats' ? natsServer?.toString() : grpcAuthority;
}

const noTemplate = 'no template: --transport file needs --template';

const noServer =
  'no server: give its host:port as grpc_authority= on the kernel command line, as environment variable TINKERBELL_GRPC_AUTHORITY or as flag --grpc-authority';

const noNatsServer = 'no server: --transport nats needs --nats-server';

const noWorkerId =
  'no worker ID: give worker_id= (or the MAC address of the boot interface as hw_addr=, packet_bootdev_mac= or BOOTIF=) on the kernel command line, environment variable WORKER_ID or flag --worker-id';

/**
 * The output of `--print-config`: warnings as comments, then a line for each setting with its
 * source; secrets as `***`.
 */
export function describeConfig({ config, sources, warnings }: LoadedConfig): string {
  const lines = settings.map(
    ({ key, names }) => `${names.flags[0]} = ${shownValue(config[key])}  # ${sources.get(key) ?? 'default'}`,
  );
  return [...warnings.map((warning) => `# warning: ${warning}`), ...lines].map((line) => `${line}\n`).join('');
}

/** A setting as `explain` shows it; secrets as `***`. */
interface ExplainedSetting {
  readonly name: string;
  /** Empty: not set. */
  readonly value: string;
  /** `default`, or where the value came from. */
  readonly source: string;
  /** Sources whose values are not used, because a higher source has one. */
  readonly overridden: readonly string[];
  readonly meaning: string;
}

/**
 * The output of `tink-agent explain`: each setting with its value, its source, the sources that it
 * overrides, and its meaning. Unlike {@link describeConfig} it needs neither a server nor a worker
 * ID.
 *
 * @param names of settings, as any of their flags; none: all settings
 * @throws {ConfigError} there is no setting of a name
 */
export function explainConfig(
  { config, sources, warnings, overridden }: LoadedSettings,
  names: readonly string[],
  format: 'text' | 'json',
): string {
  const unknown = names.filter((name) => !settings.some((setting) => setting.names.flags.includes(name)));
  if (unknown.length > 0)
    throw new ConfigError(unknown.map((name) => `there is no setting ${name}: see --help`).join('\n'));
  const chosen = settings.filter(
    ({ names: { flags } }) => names.length === 0 || flags.some((flag) => names.includes(flag)),
  );
  const explained = chosen.map(
    ({ key, names: { flags, description } }): ExplainedSetting => ({
      name: flags[0],
      value: config[key] === undefined ? '' : shownValue(config[key]),
      source: sources.get(key) ?? (key === 'workerId' && config.workerId ? 'boot-mac' : 'default'),
      overridden: overridden.get(key) ?? [],
      meaning: description,
    }),
  );
  if (format === 'json') return `${JSON.stringify({ settings: explained, warnings })}\n`;
  const blocks = explained.map(({ name, value, source, overridden: others, meaning }) =>
    [
      `${name} = ${value === '' ? '(not set)' : value}`,
      `    from: ${source}`,
      ...others.map((other) => `    overrides: ${other}`),
      `    ${meaning}`,
    ].join('\n'),
  );
  return `${[...warnings.map((warning) => `# warning: ${warning}`), ...blocks].join('\n')}\n`;
}
