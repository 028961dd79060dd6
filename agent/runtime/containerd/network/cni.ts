import { access, constants, mkdir, readdir, readFile, rename, rm, statfs, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import { OperationError } from '../../../../errors/operation-error.ts';
import { reasonOf } from '../../../../errors/reason.ts';
import { runTool, ToolError } from '../../../../tools/run-tool.ts';
import type { Dns } from './network-files.ts';

/** A network cannot be made, or a container cannot be attached to it or detached. */
export class NetworkError extends OperationError {
  override readonly name = 'NetworkError';
}

export interface NetworkOptions {
  /**
   * Directory with the machine's network configurations, usually /etc/cni/net.d. The first in
   * lexical order counts.
   */
  readonly confDirectory: string;
  /** Where plug-ins are looked for, in this order. */
  readonly binDirectories: readonly string[];
  /**
   * Directory with what another process needs to detach a container. It must not outlive the
   * machine's uptime.
   */
  readonly stateDirectory: string;
  /** Called with omissions, and with failures besides an error that is thrown. */
  warn(message: string): void;
}

/** Addresses and servers of a container. */
export interface Attachment {
  /** Without the length of their prefix. */
  readonly addresses: readonly string[];
  readonly dns: Dns;
}

/**
 * A network that containers are attached to by plug-ins of the Container Network Interface (CNI
 * specification 0.4.0 to 1.1.0).
 */
export interface Network {
  /**
   * Makes the interfaces `lo` and `eth0` in the namespace. When that fails or is aborted, nothing
   * is left.
   *
   * @param id of the container
   * @param namespace path of its network namespace
   * @throws {NetworkError}; the reason of the signal
   */
  attach(id: string, namespace: string, signal: AbortSignal): Promise<Attachment>;
  /**
   * Removes what {@link attach} made, also when another process called that or it was interrupted.
   * Nothing to remove is no error.
   *
   * @throws {NetworkError} after all plug-ins have tried; the reason of the signal: the rest can be
   *   removed later
   */
  detach(id: string, namespace: string, signal: AbortSignal): Promise<void>;
}

/** Fields that are not ours are the plug-in's: they are passed on. */
const pluginSchema = z.looseObject({
  type: z.string().regex(/^[^/]+$/, 'is not the name of a plug-in'),
  ipam: z.looseObject({ type: z.string().optional() }).optional(),
});
/** Those of one chain of plug-ins: older ones have no `prevResult` (CNI specification 0.3.0). */
const chainSchema = z.object({
  cniVersion: z.enum(['0.3.0', '0.3.1', '0.4.0', '1.0.0', '1.1.0']),
  name: z.string().regex(/^[a-zA-Z0-9][\w.-]*$/, 'is not a name'),
  plugins: z.array(pluginSchema).min(1),
});
/**
 * A file holds a chain, or a single plug-in with the chain's name and version among its own fields.
 */
const fileSchema = z
  .looseObject({})
  .transform(({ cniVersion, name, ...others }) => {
    const isChain = 'plugins' in others;
    return { cniVersion, name, plugins: isChain ? others['plugins'] : [others] };
  })
  .pipe(chainSchema);
const strings = z.array(z.string()).default([]);
const resultSchema = z.looseObject({
  ips: z.array(z.looseObject({ address: z.string() })).default([]),
  dns: z
    .object({ nameservers: strings, domain: z.string().default(''), search: strings, options: strings })
    .prefault({}),
});
const failureSchema = z.object({ msg: z.string(), details: z.string().default('') });
const attachmentSchema = z.object({ chain: chainSchema, result: z.unknown().optional() });

type Plugin = z.infer<typeof pluginSchema>;
type Chain = z.infer<typeof chainSchema>;
/** What is stored of a container while it is attached; without a result, that was interrupted. */
type AttachmentRecord = z.infer<typeof attachmentSchema>;

/**
 * Finds the network for containers: the first of the machine's configurations, or a built-in one,
 * which is a bridge behind the machine's address.
 *
 * @returns `undefined` when nothing is configured and the plug-ins of the built-in network are not
 * installed
 * @throws {NetworkError} the machine's configuration is wrong, or its plug-ins are not installed;
 * the reason of the signal
 */
export async function loadNetwork(options: NetworkOptions, signal: AbortSignal): Promise<Network | undefined> {
  const chain = (await configuredChain(options)) ?? (await builtInChain(options, signal));
  return chain && createNetwork(chain, options);
}

async function configuredChain({ confDirectory, binDirectories }: NetworkOptions): Promise<Chain | undefined> {
  const names = await readdir(confDirectory).catch(() => []);
  const [name] = names.filter((entry) => /\.(?:conflist|conf|json)$/.test(entry)).toSorted();
  if (name === undefined) return undefined;
  const path = join(confDirectory, name);
  try {
    const chain = parse(fileSchema, await readFile(path, 'utf8'));
    for (const type of [loopback.type, ...chain.plugins.flatMap(programsOf)]) await find(type, binDirectories);
    return chain;
  } catch (error) {
    const target = `the network configuration ${path}`;
    throw new NetworkError({ what: 'use', target, why: reasonOf(error), cause: error });
  }
}

function parse<Schema extends z.ZodType>(schema: Schema, text: string): z.infer<Schema> {
  const { data, error } = schema.safeParse(JSON.parse(text));
  if (error === undefined) return data;
  const problems = error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`);
  throw new Error(problems.join(', '), { cause: error });
}

function programsOf({ type, ipam }: Plugin): string[] {
  return [type, ipam?.type ?? ''].filter((program) => program !== '');
}

const loopback: Plugin = { type: 'loopback' };

async function builtInChain(
  { binDirectories, stateDirectory, warn }: NetworkOptions,
  signal: AbortSignal,
): Promise<Chain | undefined> {
  const isInstalled = async (type: string) => (await locate(type, binDirectories)) !== undefined;
  for (const type of ['bridge', 'host-local', loopback.type]) if (!(await isInstalled(type))) return undefined;
  const refusal = await translationRefusal(signal);
  if (refusal !== undefined)
    warn(`the default network of actions reaches only this machine: no address translation (${refusal})`);
  const filters = [{ type: 'portmap', capabilities: { portMappings: true } }, { type: 'firewall' }];
  const usable = await Promise.all(filters.map(async ({ type }) => refusal === undefined && (await isInstalled(type))));
  return {
    cniVersion: '0.4.0',
    name: 'nibs',
    plugins: [
      {
        ...{ type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, ipMasq: refusal === undefined },
        ipam: {
          ...{ type: 'host-local', dataDir: join(stateDirectory, 'addresses') },
          ranges: [[{ subnet: '172.17.0.0/23' }]],
          routes: [{ dst: '0.0.0.0/0' }],
        },
      },
      ...filters.filter((_, index) => usable[index]),
    ],
  };
}

/**
 * Why addresses cannot be translated. The plug-ins that translate and filter use iptables, which
 * needs support of the kernel. `undefined`: it works.
 */
async function translationRefusal(signal: AbortSignal): Promise<string | undefined> {
  try {
    await runTool('iptables', ['--wait', '5', '--table', 'nat', '--list-rules'], { timeoutSeconds: 10, signal });
    return undefined;
  } catch (error) {
    if (!(error instanceof ToolError)) throw error;
    return error.why.split('\n')[0];
  }
}

/**
 * The specification, section 3 "Execution of Network Configurations", says what is done in which
 * order.
 */
function createNetwork(ownChain: Chain, { binDirectories, stateDirectory, warn }: NetworkOptions): Network {
  const run = (command: Command, plugin: Plugin, invocation: Invocation, signal: AbortSignal | undefined) =>
    runPlugin(command, plugin, invocation, binDirectories, signal);

  async function attach(id: string, namespace: string, signal: AbortSignal): Promise<Attachment> {
    const file = attachmentFile(id);
    try {
      // Before the first plug-in runs: if this process dies meanwhile, another one still knows the
      // plug-ins that clean up.
      await saveAttachment(file, { chain: ownChain, result: undefined });
      await run('ADD', loopback, { chain: loopbackOf(ownChain), id, namespace, interfaceName: 'lo' }, signal);
      let result: unknown;
      for (const plugin of ownChain.plugins)
        result = await run('ADD', plugin, { chain: ownChain, id, namespace, interfaceName: 'eth0', result }, signal);
      const { ips, dns } = resultSchema.parse(result);
      await saveAttachment(file, { chain: ownChain, result });
      return { addresses: ips.map(({ address }) => address.replace(/\/.*/, '')), dns };
    } catch (error) {
      await detach(id, namespace).catch((left: Error) => warn(left.message));
      signal.throwIfAborted();
      throw networkError('attach', `container ${id} to the network ${ownChain.name}`, error);
    }
  }

  /** @param signal `undefined`: it cleans up after an attempt to attach that was aborted */
  async function detach(id: string, namespace: string, signal?: AbortSignal): Promise<void> {
    const file = attachmentFile(id);
    const { chain, result } = (await loadAttachment(file)) ?? { chain: ownChain };
    // Without a namespace a plug-in frees what it holds elsewhere; a namespace that cannot be
    // entered makes it fail.
    const entered = (await isNetworkNamespace(namespace)) ? namespace : '';
    const failures: Error[] = [];
    const remove = async (plugin: Plugin, from: Chain, interfaceName: string) => {
      const invocation = { chain: from, id, namespace: entered, interfaceName, result };
      await run('DEL', plugin, invocation, signal).catch((error: Error) => failures.push(error));
      signal?.throwIfAborted();
    };
    for (const plugin of chain.plugins.toReversed()) await remove(plugin, chain, 'eth0');
    await remove(loopback, loopbackOf(chain), 'lo');
    if (failures[0] !== undefined)
      throw networkError('detach', `container ${id} from the network ${chain.name}`, failures[0]);
    await rm(file, { force: true });
  }

  function attachmentFile(id: string): string {
    // The identifier's form in the specification, section 2 "Parameters": so it is a file's name
    // too.
    if (!/^[a-zA-Z0-9][\w.-]*$/.test(id))
      throw new NetworkError({ what: 'attach', target: JSON.stringify(id), why: 'it is not a valid container id' });
    return join(stateDirectory, `${id}.json`);
  }

  return { attach, detach };
}

function loopbackOf({ cniVersion }: Chain): Chain {
  return { cniVersion, name: 'loopback', plugins: [loopback] };
}

function networkError(what: string, target: string, cause: unknown): NetworkError {
  return new NetworkError({ what, target, why: reasonOf(cause), cause });
}

/** Whole or not at all, whenever the process dies. */
async function saveAttachment(file: string, content: AttachmentRecord): Promise<void> {
  await mkdir(dirname(file), { recursive: true });
  await writeFile(`${file}.new`, JSON.stringify(content), { mode: 0o600 });
  await rename(`${file}.new`, file);
}

async function loadAttachment(file: string): Promise<AttachmentRecord | undefined> {
  try {
    return parse(attachmentSchema, await readFile(file, 'utf8'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw networkError('read', file, error);
  }
}

type Command = 'ADD' | 'DEL';

/** Input of a plug-in, besides its own configuration. */
interface Invocation {
  readonly chain: Chain;
  readonly id: string;
  /** Empty: it is gone. */
  readonly namespace: string;
  readonly interfaceName: string;
  /** Of the plug-in before this one; for DEL, of the last one. */
  readonly result?: unknown;
}

/** No plug-in takes longer, unless it hangs. */
const pluginTimeoutSeconds = 60;

/**
 * Runs a plug-in (CNI specification, section 2 "Execution Protocol") and returns its result, which
 * DEL does not have.
 */
async function runPlugin(
  command: Command,
  { capabilities, ...plugin }: Plugin,
  { chain: { cniVersion, name }, id, namespace, interfaceName, result }: Invocation,
  binDirectories: readonly string[],
  signal: AbortSignal | undefined,
): Promise<unknown> {
  const options = {
    environment: {
      ...{ CNI_COMMAND: command, CNI_CONTAINERID: id, CNI_NETNS: namespace, CNI_IFNAME: interfaceName },
      CNI_PATH: binDirectories.join(':'),
    },
    // Capabilities ask for `runtimeConfig`, which actions do not have.
    input: JSON.stringify({ ...plugin, cniVersion, name, ...(result !== undefined && { prevResult: result }) }),
    timeoutSeconds: pluginTimeoutSeconds,
    signal,
  };
  const { stdout } = await runTool(await find(plugin.type, binDirectories), [], options).catch((cause: unknown) => {
    if (!(cause instanceof ToolError)) throw cause;
    throw new Error(`plug-in ${plugin.type} (${command}): ${reasonIn(cause.stdout) || cause.why}`, { cause });
  });
  if (command === 'DEL') return undefined;
  const answer = parseJson(stdout);
  if (answer === undefined)
    throw new Error(`plug-in ${plugin.type} (${command}) printed ${JSON.stringify(stdout)} instead of a result`);
  return answer;
}

function reasonIn(stdout: string): string | undefined {
  const { data } = failureSchema.safeParse(parseJson(stdout));
  return data && [data.msg, data.details].filter((text) => text !== '').join(': ');
}

/** `undefined`: it is not JSON. */
function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function find(type: string, directories: readonly string[]): Promise<string> {
  const path = await locate(type, directories);
  if (path === undefined) throw new Error(`plug-in ${type} not found in ${directories.join(' or ')}`);
  return path;
}

async function locate(type: string, directories: readonly string[]): Promise<string | undefined> {
  for (const path of directories.map((directory) => join(directory, type))) {
    const isProgram = await access(path, constants.X_OK).then(
      () => true,
      () => false,
    );
    if (isProgram) return path;
  }
  return undefined;
}

/**
 * Makes a network namespace that lives on without a process, at a path as namespaces(7) describes
 * it.
 *
 * @param path not there yet; its directory is made
 * @throws {NetworkError}; the reason of the signal
 */
export async function createNetworkNamespace(path: string, signal: AbortSignal): Promise<void> {
  const failure = (error: unknown) => networkError('make', `the network namespace ${path}`, error);
  try {
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, '', { flag: 'wx', mode: 0o444 });
  } catch (error) {
    throw failure(error);
  }
  try {
    await runTool('unshare', [`--net=${path}`, 'true'], { timeoutSeconds: 10, signal });
  } catch (error) {
    await removeNetworkNamespace(path);
    signal.throwIfAborted();
    throw failure(error);
  }
}

/**
 * Removes the path; the namespace ends with the last process in it. A path that does not exist is
 * no error.
 * @throws {NetworkError}
 */
export async function removeNetworkNamespace(path: string): Promise<void> {
  try {
    if (await isNetworkNamespace(path)) await runTool('umount', [path], { timeoutSeconds: 10 });
    await rm(path, { force: true });
  } catch (error) {
    throw networkError('remove', `the network namespace ${path}`, error);
  }
}

/** linux/magic.h */
const namespaceMagic = 0x6e736673;

async function isNetworkNamespace(path: string): Promise<boolean> {
  return await statfs(path).then(
    ({ type }) => type === namespaceMagic,
    () => false,
  );
}
