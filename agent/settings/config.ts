import type { Arguments } from './arguments.ts';
import { type Config, type SettingKey, schema, settings } from './settings.ts';
import { ConfigError, type Given, readSources } from './sources.ts';
import type { NatsServer } from './values.ts';

export { ConfigError } from './sources.ts';

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

export interface LoadedConfig {
  readonly config: CompleteConfig;
  /** Where the value of each setting came from, for people. Those that are missing have their default. */
  readonly sources: ReadonlyMap<SettingKey, string>;
  /** What was given and is not used, and what is used instead, a line each; without secrets. */
  readonly warnings: readonly string[];
}

/**
 * Reads the configuration: defaults, then the configuration file, the kernel command line, the environment, the flags; what comes later wins.
 *
 * A machine that has booted from the network cannot be typed at, so a value that cannot be used does not end the agent: the warning names it, and what the
 * next lower source says is used instead, or the default. What a person typed, a flag, is refused. So is what work is impossible without: a server that is not
 * named, a machine that has no worker id.
 *
 * @param directory where `tink-worker.yaml`, `.yml`, `.json` or `.toml` is the configuration file when none is named
 * @throws {ConfigError} for flags that cannot be used, files they name that cannot be read, and settings that are missing
 */
export async function loadConfig(
  flags: Arguments,
  environment: Readonly<Record<string, string | undefined>>,
  directory?: string,
): Promise<LoadedConfig> {
  const { given, problems } = await readSources(flags, environment, directory);
  const sources = new Map<SettingKey, string>();
  const values: [SettingKey, unknown][] = [];
  const refused: string[] = [];
  const warnings = [...problems];
  for (const { key } of settings) {
    const { chosen, rejected } = choose(key, given.get(key) ?? []);
    if (chosen !== undefined) {
      values.push([key, chosen.value]);
      sources.set(key, chosen.source);
    }
    for (const { problem, isTyped } of rejected) {
      if (isTyped) refused.push(problem);
      else warnings.push(`${problem}; ${instead(key, chosen)}`);
    }
  }
  if (refused.length > 0) throw new ConfigError(refused.join('\n'));
  const config = schema.parse(Object.fromEntries(values));
  try {
    return { config: complete({ ...config, workerId: config.workerId ?? config.bootMac }), sources, warnings };
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    // What is missing may be there, but wrong.
    throw new ConfigError([...warnings, error.message].join('\n'));
  }
}

interface Choice {
  readonly chosen: Given | undefined;
  /** Those that win over it and cannot be used. */
  readonly rejected: readonly { readonly problem: string; readonly isTyped: boolean }[];
}

function choose(key: SettingKey, given: readonly Given[]): Choice {
  const rejected: { problem: string; isTyped: boolean }[] = [];
  for (const one of given.toReversed()) {
    const problem = problemOf(key, one);
    if (problem === undefined) return { chosen: one, rejected };
    rejected.push({ problem, isTyped: one.isTyped });
  }
  return { chosen: undefined, rejected };
}

/** Why a value cannot be used. */
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

function instead(key: SettingKey, chosen: Given | undefined): string {
  const value: unknown = schema.shape[key].parse(chosen?.value);
  return `used instead: ${String(value ?? '(not set)')} (${chosen?.source ?? 'default'})`;
}

/** Settings that are shown to nobody, and that may contain anything. */
const secretSettings: ReadonlySet<SettingKey> = new Set(['registryPassword', 'registries', 'values', 'natsServer']);
const freeTexts: ReadonlySet<SettingKey> = new Set([
  ...secretSettings,
  'kexecCmdline',
  'rebootCommand',
  'poweroffCommand',
]);

/** Whether a boot script has left a variable in the value, as iPXE does with `${net0/mac}` where it does not know it. */
function isUnexpanded(key: SettingKey, value: unknown): boolean {
  const variable = freeTexts.has(key) ? /^\$\{[\w:./-]+\}$/ : /\$\{[\w:./-]+\}/;
  return typeof value === 'string' && variable.test(value);
}

/** Of a URL not the name and password. */
function shown(key: SettingKey, value: unknown): string {
  return secretSettings.has(key) ? '***' : JSON.stringify(value).replace(/[^\s/"]*@/, '***@');
}

function nameOf(key: SettingKey): string {
  return settings.find((setting) => setting.key === key)?.names.flags[0] ?? key;
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

/** The configuration as people may see it: one line a setting, with where it came from, secrets as `***`; what is not used as comments before them. */
export function describeConfig({ config, sources, warnings }: LoadedConfig): string {
  const lines = settings.map(
    ({ key, names }) => `${names.flags[0]} = ${String(config[key] ?? '(not set)')}  # ${sources.get(key) ?? 'default'}`,
  );
  return [...warnings.map((warning) => `# warning: ${warning}`), ...lines].map((line) => `${line}\n`).join('');
}
