import type { Clock } from '../../clock/clock.ts';
import { startDeadline } from '../../clock/deadline.ts';
import { retry } from '../../clock/retry.ts';
import { reasonOf } from '../../errors/reason.ts';
import {
  type ImageReference,
  namesNoRegistry,
  normaliseHost,
  type PrefixRule,
  parseReference,
  registryPath,
  withRegistry,
} from '../../registry/image-reference.ts';
import type { RegistryLogin } from '../../registry/login.ts';
import type { Action } from '../action/action.ts';
import { credentialsFor, type RegistryCredentials, storedCredentialsFor } from './credentials.ts';
import { type DownloadProgress, DownloadTotals } from './download-totals.ts';
import type { EngineConnection } from './engine-connection.ts';
import { attemptsFor } from './pull-attempts.ts';
import { PullError } from './pull-error.ts';
import type { UnreachableRegistries } from './unreachable-registries.ts';

/** Where images come from. */
export interface ImageOptions {
  /** `host[:port][/path]` in front of images; `undefined`: images are named in full. */
  readonly registry: string | undefined;
  /** Which images it stands in front of. Default: as the action says. */
  readonly prefix?: PrefixRule | undefined;
  readonly credentials?: readonly RegistryCredentials[] | undefined;
  /** Mirrors of registries; they are asked before the registry itself, in order. Default: none. */
  readonly mirrors?: readonly RegistryMirror[] | undefined;
  /**
   * Directory with a `config.json` that has credentials too; those above are preferred. Default:
   * none.
   */
  readonly dockerConfigDirectory?: string | undefined;
  /** Longest time for pulling an image, over all registries and attempts. Default: 3600. */
  readonly pullTimeoutSeconds?: number | undefined;
  /** An attempt that makes no progress for this long has failed. Default: 600. */
  readonly pullStallSeconds?: number | undefined;
  /**
   * Number of attempts where the reason is not a refusal. Default: 10, which takes a minute or
   * more.
   */
  readonly pullAttempts?: number | undefined;
}

/** A registry that has images of another one. */
export interface RegistryMirror {
  /** `host[:port]` of the registry whose images it has. */
  readonly of: string;
  /** `host[:port][/path]`; the path stands in front of the repository. */
  readonly at: string;
}

/** Called during a pull. */
export interface PullEvents {
  onPulling(image: string): void;
  /** At most once a second, and at the end of a download. */
  onProgress(image: string, progress: DownloadProgress): void;
  onPulled(image: string, seconds: number): void;
  /** With what did not end the pull. */
  onWarning(message: string): void;
}

interface AttemptEvents extends PullEvents {
  onFailure(error: PullError): void;
}

/** A pull that failed after all attempts. */
interface FailedPull {
  readonly error: PullError;
  /** The registry still cannot be reached, which was reported before. */
  readonly isKnownOutage: boolean;
}

/** Context of a pull. */
interface Pull {
  readonly connection: EngineConnection;
  readonly unreachable: UnreachableRegistries;
  readonly options: ImageOptions;
  /**
   * The name of a local copy. Looked up only when it is needed: most pulls succeed.
   */
  readonly copy: (signal: AbortSignal) => Promise<string | undefined>;
}

const maxDelaySeconds = 15;

/**
 * Names of images in the boot image itself, as in HookOS: a local copy counts also where a registry
 * is put in front of every image.
 */
const embeddedPrefix = '127.0.0.1/embedded/';

/**
 * Makes sure that the engine has an action's image: pulls it from the first mirror or registry that
 * has it, unless it is named by digest and present. When it cannot be pulled, a local copy with
 * that name is used. A registry that cannot be reached is not asked again for a while.
 * @returns The name to create containers with.
 * @throws {PullError}, of the reason `timed-out` if the time for all attempts was too short;
 * {ImageReferenceError}; the reason of the signal
 */
export async function ensureImage(
  connection: EngineConnection,
  unreachable: UnreachableRegistries,
  { image, registryPrefix }: Pick<Action, 'image' | 'registryPrefix'>,
  options: ImageOptions,
  events: PullEvents,
  signal: AbortSignal,
): Promise<string> {
  const prefix = options.prefix ?? registryPrefix;
  const reference = parseReference(withRegistry(image, options.registry, prefix));
  const mirrors = mirrorsOf(reference, options.mirrors ?? []);
  const local = [...mirrors, reference, ...(image.startsWith(embeddedPrefix) ? [parseReference(image)] : [])];
  const copy = once((limited) => firstPresent(connection, local, limited));
  const isReachable = [...mirrors, reference].some(({ host }) => !unreachable.has(host));
  if (reference.digest !== undefined || !isReachable) {
    const present = await copy(signal);
    if (present !== undefined) return present;
  }

  const pull: Pull = { connection, unreachable, options, copy };
  const limitSeconds = options.pullTimeoutSeconds ?? 3600;
  const pulled = await withTimeLimit(connection.clock, reference, limitSeconds, events, signal, (limited, attempts) =>
    pullFromFirst(pull, mirrors, reference, attempts, limited),
  );
  if (typeof pulled === 'string') return pulled;
  const { error, isKnownOutage } = pulled;
  const present = await copy(signal);
  if (present === undefined && prefix === 'never' && namesNoRegistry(image))
    throw withPrefixHint(error, options.registry);
  if (present === undefined) throw error;
  if (!isKnownOutage) events.onWarning(`${error.message}; using the local copy`);
  return present;
}

function once<Value>(find: (signal: AbortSignal) => Promise<Value>): (signal: AbortSignal) => Promise<Value> {
  let found: { readonly value: Value } | undefined;
  return async (signal) => {
    found ??= { value: await find(signal) };
    return found.value;
  };
}

/** tink-worker puts the registry in front of every image. */
function withPrefixHint(error: PullError, registry: string | undefined): PullError {
  if (registry === undefined) return error;
  const advice = `${registry} is not put in front of images that a current server sends: name them in full, or set --registry-prefix`;
  const hint = error.hint === undefined ? advice : `${error.hint}; ${advice}`;
  return new PullError(error.reason, { target: error.target, why: error.why, hint, cause: error.cause });
}

/** Ends a pull at its timeout. */
async function withTimeLimit(
  clock: Clock,
  { canonical }: ImageReference,
  seconds: number,
  events: PullEvents,
  signal: AbortSignal,
  pulling: (signal: AbortSignal, events: AttemptEvents) => Promise<string | FailedPull>,
): Promise<string | FailedPull> {
  const failures: PullError[] = [];
  const onFailure = (error: PullError) => void failures.push(error);
  using deadline = startDeadline(clock, { seconds, awaited: 'image' }, signal);
  try {
    return await pulling(deadline.signal, { ...events, onFailure });
  } catch (error) {
    signal.throwIfAborted();
    if (!deadline.isOver) throw error;
    const last = failures.at(-1);
    const why = `no success within ${seconds} s${last === undefined ? '' : `; the last attempt: ${last.why}`}`;
    const problem = { target: canonical, why, hint: last?.hint, cause: last };
    return { error: new PullError('timed-out', problem), isKnownOutage: false };
  }
}

/**
 * Each mirror is asked once.
 * @returns the name of the image where it was pulled from, or why it was not
 */
async function pullFromFirst(
  pull: Pull,
  mirrors: readonly ImageReference[],
  reference: ImageReference,
  events: AttemptEvents,
  signal: AbortSignal,
): Promise<string | FailedPull> {
  const { unreachable, copy, options } = pull;
  for (const mirror of mirrors) {
    if (unreachable.has(mirror.host)) continue;
    const failed = await pullFrom(pull, mirror, 1, events, signal);
    if (failed === undefined) return mirror.canonical;
    if (!failed.isKnownOutage) events.onWarning(`${failed.error.message}; asking the next registry`);
  }
  if (unreachable.has(reference.host) && (await copy(signal)) !== undefined) {
    const problem = { target: reference.canonical, why: `${reference.host} cannot be reached` };
    return { error: new PullError('unreachable', problem), isKnownOutage: true };
  }
  return (await pullFrom(pull, reference, options.pullAttempts ?? 10, events, signal)) ?? reference.canonical;
}

function mirrorsOf(reference: ImageReference, mirrors: readonly RegistryMirror[]): ImageReference[] {
  const rest = reference.canonical.slice(reference.canonical.indexOf('/'));
  return mirrors
    .filter((mirror) => normaliseHost(mirror.of) === reference.host)
    .map((mirror) => parseReference(`${registryPath(mirror.at)}${rest}`));
}

/** The name of a local copy. */
async function firstPresent(
  connection: EngineConnection,
  references: readonly ImageReference[],
  signal: AbortSignal,
): Promise<string | undefined> {
  for (const { canonical } of references) if (await isPresent(connection, canonical, signal)) return canonical;
  return undefined;
}

/** @returns why the image could not be pulled from there; `undefined`: it was. */
async function pullFrom(
  { connection, unreachable, options, copy }: Pull,
  reference: ImageReference,
  attempts: number,
  events: AttemptEvents,
  signal: AbortSignal,
): Promise<FailedPull | undefined> {
  const { host, canonical } = reference;
  const { clock } = connection;
  const login = await loginFor(host, options, events);
  events.onPulling(canonical);
  const startedAtSeconds = clock.monotonicSeconds();
  let isKnownOutage = false;
  const attemptPull = async (): Promise<undefined> => {
    await pullOnce(connection, canonical, login, options.pullStallSeconds ?? 600, events, signal);
    unreachable.delete(host);
    events.onPulled(canonical, clock.monotonicSeconds() - startedAtSeconds);
  };
  const onFailure = async (error: unknown, attempt: number) => {
    if (!(error instanceof PullError)) throw error;
    const { reason, message } = error;
    events.onFailure(error);
    isKnownOutage = reason === 'unreachable' && unreachable.add(host) && (attempt === 1 || isKnownOutage);
    if (attempt >= attemptsFor(reason, attempts, (await copy(signal)) !== undefined)) throw error;
    if (attempt === 1) events.onWarning(`${message}; trying again`);
  };
  const waits = { initialSeconds: 0.5, maxSeconds: maxDelaySeconds, growth: 2 };
  return await retry(attemptPull, { clock, signal, ...waits, onFailure }).catch((error: unknown) => {
    if (error instanceof PullError) return { error, isKnownOutage };
    throw error;
  });
}

async function isPresent(connection: EngineConnection, name: string, signal: AbortSignal): Promise<boolean> {
  return await connection.call((engine, limited) => engine.hasImage(name, limited), signal);
}

async function loginFor(
  host: string,
  { credentials = [], dockerConfigDirectory }: ImageOptions,
  events: PullEvents,
): Promise<RegistryLogin | undefined> {
  const configured = credentialsFor(host, credentials);
  if (configured !== undefined || dockerConfigDirectory === undefined) return configured;
  try {
    return await storedCredentialsFor(host, dockerConfigDirectory);
  } catch (error) {
    // The registry may accept a pull without them; otherwise its refusal fails the pull.
    events.onWarning(reasonOf(error));
    return undefined;
  }
}

/**
 * One attempt.
 * @throws {PullError}; {EngineError}; the reason of the signal
 */
async function pullOnce(
  connection: EngineConnection,
  image: string,
  login: RegistryLogin | undefined,
  stallSeconds: number,
  events: PullEvents,
  signal: AbortSignal,
): Promise<void> {
  const { clock } = connection;
  using stall = startDeadline(clock, { seconds: stallSeconds, awaited: 'progress' }, signal);
  const totals = new DownloadTotals();
  let reportedAt = clock.monotonicSeconds();
  const report = () => {
    const sum = totals.sum();
    if (sum === undefined) return;
    reportedAt = clock.monotonicSeconds();
    events.onProgress(image, sum);
  };
  try {
    const pull = (engine: EngineConnection['engine'], limited: AbortSignal) => engine.pullImage(image, login, limited);
    for await (const progress of await connection.call(pull, stall.signal, Infinity)) {
      stall.restart();
      totals.add(progress);
      if (clock.monotonicSeconds() - reportedAt >= 1) report();
    }
    report();
  } catch (error) {
    signal.throwIfAborted();
    if (stall.isOver) throw new PullError('temporary', { target: image, why: `no progress for ${stallSeconds} s` });
    throw error;
  }
}
