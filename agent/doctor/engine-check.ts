import { access } from 'node:fs/promises';
import type { Clock } from '../../clock/clock.ts';
import { within } from '../../clock/within.ts';
import { reasonOf } from '../../errors/reason.ts';
import { normaliseHost, registryPath } from '../../registry/image-reference.ts';
import type { RegistryLogin } from '../../registry/login.ts';
import { credentialsFor, storedCredentialsFor } from '../runtime/credentials.ts';
import type { Engine } from '../runtime/engine.ts';
import { PullError } from '../runtime/pull-error.ts';
import { registryCredentialsFrom } from '../settings/credentials.ts';
import type { Config } from '../settings/settings.ts';
import { type Finding, finding, findingOf } from './finding.ts';

const engineTimeoutSeconds = 30;
/** An engine tries a registry that does not answer several times. */
const pullTimeoutSeconds = 120;

export interface OpenedEngine {
  readonly engine: Engine;
  /** What it says of itself, once it has answered. */
  describe(signal: AbortSignal): Promise<{
    /** For people: name and version. */
    readonly description: string;
    /** Directory of its images; `undefined`: unknown. */
    readonly imageStore: string | undefined;
  }>;
}

export interface EngineFindings {
  readonly findings: readonly Finding[];
  /** Directory of the engine's images on this machine; `undefined`: unknown. */
  readonly imageStore: string | undefined;
}

/**
 * Whether the engine answers, and whether it reaches the registries of the configuration and may
 * pull from them. Each registry is asked by the engine itself, for an image that does not exist:
 * so that the engine's own settings of certificates, mirrors and proxies count.
 *
 * @param image to pull as an action would; `undefined`: nothing is pulled
 */
export async function checkEngine(
  config: Config,
  image: string | undefined,
  clock: Clock,
  signal: AbortSignal,
): Promise<EngineFindings> {
  const { engine, describe } = await openEngine(config, clock);
  await using _ = engine;
  const limit = { seconds: engineTimeoutSeconds, awaited: 'answer of the engine' };
  try {
    const { description, imageStore } = await within(clock, limit, signal, async (limited) => {
      await engine.ping(limited);
      return await describe(limited);
    });
    const registries = registriesOf(config);
    const probes = registries.map((registry) => checkRegistry(engine, config, registry, clock, signal));
    const pulled = image === undefined ? [] : [await checkImage(engine, config, image, clock, signal)];
    const findings = [finding('engine', 'ok', description), ...(await Promise.all(probes)), ...pulled];
    return { imageStore: await existing(imageStore), findings: registries.length > 0 ? findings : [...findings, none] };
  } catch (error) {
    signal.throwIfAborted();
    const unchecked = finding('registry', 'unchecked', 'the engine, which would reach it, does not answer');
    return { findings: [findingOf('engine', error, adviceFor(config)), unchecked], imageStore: undefined };
  }
}

const none = finding('registry', 'ok', 'none is configured: images come from the registries in their names');

async function openEngine(config: Config, clock: Clock): Promise<OpenedEngine> {
  if (config.runtime === 'docker') return (await import('./docker-engine.ts')).openDockerEngine(config.dockerHost);
  return (await import('./containerd-engine.ts')).openContainerdEngine(config, clock);
}

function adviceFor({ runtime, dockerHost, containerdSocket }: Config): string {
  return runtime === 'docker'
    ? `start the engine, or name its address with --docker-host (now ${dockerHost}); for containerd set --runtime containerd`
    : `start containerd, or name its socket with --containerd-socket (now ${containerdSocket})`;
}

/** The store may be that of another machine, or outside of this container. */
async function existing(directory: string | undefined): Promise<string | undefined> {
  if (directory === undefined) return undefined;
  return await access(directory).then(
    () => directory,
    () => undefined,
  );
}

/** `host[:port]` and perhaps a path, each once. */
function registriesOf(config: Config): string[] {
  const { dockerRegistry, registryMirrors = [] } = config;
  const main = dockerRegistry === undefined ? [] : [registryPath(dockerRegistry)];
  const others = registryCredentialsFrom(config).map(({ host }) => host);
  const withoutMain = others.filter((host) => host !== main[0]?.split('/')[0]);
  return [...new Set([...main, ...withoutMain, ...registryMirrors.map(({ at }) => registryPath(at))])];
}

async function loginFor(config: Config, host: string): Promise<RegistryLogin | undefined> {
  const configured = credentialsFor(normaliseHost(host), registryCredentialsFrom(config));
  if (configured !== undefined || config.dockerConfig === undefined) return configured;
  return await storedCredentialsFor(normaliseHost(host), config.dockerConfig);
}

async function checkRegistry(
  engine: Engine,
  config: Config,
  registry: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Finding> {
  const [host = ''] = registry.split('/');
  try {
    const login = await loginFor(config, host);
    const failure = await pull(engine, `${registry}/nibs-doctor:no-such-image`, login, clock, signal);
    const user = login === undefined ? 'without a login' : 'with the configured login';
    if (failure === undefined || failure.reason === 'not-found')
      return finding('registry', 'ok', `the engine reaches it ${user}`, { target: registry });
    // An engine that lists the registry as insecure hides the refusal behind an attempt in HTTP.
    if (login === undefined && (failure.reason === 'unauthorized' || failure.reason === 'hidden-tls-failure'))
      return finding('registry', 'warning', 'it asks for a login, or hides that an image does not exist', {
        target: registry,
        advice: `set registry_username= and registry_password=, or try an image of it: tink-agent doctor --image ${registry}/NAME`,
      });
    return findingOf('registry', failure, adviceForPull(failure, host), registry);
  } catch (error) {
    signal.throwIfAborted();
    return finding('registry', 'error', reasonOf(error), { target: registry, advice: network });
  }
}

async function checkImage(
  engine: Engine,
  config: Config,
  image: string,
  clock: Clock,
  signal: AbortSignal,
): Promise<Finding> {
  try {
    const { parseReference } = await import('../../registry/image-reference.ts');
    const { canonical, host } = parseReference(image);
    const failure = await pull(engine, canonical, await loginFor(config, host), clock, signal);
    if (failure !== undefined) return findingOf('registry', failure, adviceForPull(failure, host), image);
    return finding('registry', 'ok', 'the engine has pulled it', { target: image });
  } catch (error) {
    signal.throwIfAborted();
    return finding('registry', 'error', reasonOf(error), { target: image, advice: network });
  }
}

/** @returns why it failed; `undefined` if it did not */
async function pull(
  engine: Engine,
  image: string,
  login: RegistryLogin | undefined,
  clock: Clock,
  signal: AbortSignal,
): Promise<PullError | undefined> {
  const limit = { seconds: pullTimeoutSeconds, awaited: 'answer of the registry' };
  try {
    await within(clock, limit, signal, async (limited) => {
      for await (const _ of await engine.pullImage(image, login, limited));
    });
    return undefined;
  } catch (error) {
    if (error instanceof PullError) return error;
    throw error;
  }
}

const network = 'check the name or address of the registry, name resolution, and the route to it';

function adviceForPull({ reason }: PullError, host: string): string {
  switch (reason) {
    case 'unreachable':
    case 'timed-out':
      return network;
    case 'untrusted-certificate':
      return `give the engine the registry's authority: nibs_registry_ca=${host}=URL in the boot image, /etc/docker/certs.d/${host}/ca.crt elsewhere`;
    case 'no-tls':
    case 'hidden-tls-failure':
      return `give the registry a certificate, or list it in insecure_registries= in the boot image, "insecure-registries" of daemon.json elsewhere`;
    case 'bad-configuration':
      return 'correct the file that the message names';
    default:
      return 'see the log of the registry';
  }
}
