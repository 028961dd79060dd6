import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { z } from 'zod';
import type { Clock } from '../../clock/clock.ts';
import { retry } from '../../clock/retry.ts';
import type { Action } from '../action/action.ts';
import {
  type ImageReference,
  namesNoRegistry,
  normaliseHost,
  type PrefixRule,
  parseReference,
  withRegistry,
} from '../action/image-reference.ts';
import {
  credentialsFor,
  type EngineAuthentication,
  type RegistryCredentials,
  storedCredentialsFor,
} from './credentials.ts';
import { type Engine, EngineError, plainly } from './engine.ts';
import { attemptsFor, explainPullFailure, pullFailureReasons } from './pull-failure.ts';
import type { UnreachableRegistries } from './unreachable-registries.ts';

/** Where images come from. */
export interface ImageOptions {
  /** `host[:port][/path]` in front of images; `undefined`: images are named in full. */
  readonly registry: string | undefined;
  /** Which images it stands in front of. Default: as the action says. */
  readonly prefix?: PrefixRule | undefined;
  readonly credentials?: readonly RegistryCredentials[] | undefined;
  /** Other places of a registry's images, which are asked before it, in order. Default: none. */
  readonly mirrors?: readonly RegistryMirror[] | undefined;
  /** Directory with a `config.json` that has credentials too; those above are preferred. Default: none. */
  readonly dockerConfigDirectory?: string | undefined;
  /** Longest time for getting an image, over all registries and attempts. Default: 3600. */
  readonly pullTimeoutSeconds?: number | undefined;
  /** An attempt that makes no progress for this long has failed. Default: 600. */
  readonly pullStallSeconds?: number | undefined;
  /** How often a pull is tried when something else than a refusal is the reason. Default: 10, which takes a minute or more. */
  readonly pullAttempts?: number | undefined;
}

/** A registry that has images of another one. */
export interface RegistryMirror {
  /** `host[:port]` of the registry whose images it has. */
  readonly of: string;
  /** `host[:port][/path]`; the path stands in front of the repository. */
  readonly at: string;
}

export interface PullProgress {
  readonly doneBytes: number;
  /** Sum of the layers whose size is known so far. */
  readonly totalBytes: number;
}

/** What is told during a pull. */
export interface PullEvents {
  onPulling(image: string): void;
  /** At most once a second, and at the end of a download. */
  onProgress(image: string, progress: PullProgress): void;
  onPulled(image: string, seconds: number): void;
  /** Something that did not end the pull. */
  onWarning(message: string): void;
}

interface AttemptEvents extends PullEvents {
  /** Why an attempt failed. */
  onFailure(message: string): void;
}

/** An image that cannot be had. The message says which, why, and what to do. */
export class PullError extends Error {
  override readonly name = 'PullError';
}

/** A registry that still cannot be reached; that has been said. */
class KnownOutage extends PullError {}

/** An image that could not be had in the time there was for it. The message says which, in how much time, and what was wrong meanwhile. */
export class PullTimeoutError extends PullError {}

/** What the steps of getting an image need. */
interface Pull {
  readonly engine: Engine;
  readonly unreachable: UnreachableRegistries;
  readonly options: ImageOptions;
  /** The name of a copy that is there already. Asked for only where the answer counts: most pulls succeed. */
  readonly copy: (signal: AbortSignal) => Promise<string | undefined>;
}

const longestDelaySeconds = 15;

/**
 * Makes an action's image present in the engine: pulls it from the first place that has it, unless it is named by digest and already there. When it
 * cannot be pulled, an image of that name which is already present is enough, and a registry that cannot be reached is not asked again for a while.
 * @returns The name to create containers with.
 * @throws {PullError}, {PullTimeoutError}, {ImageReferenceError}, or the reason of the signal.
 */
export async function ensureImage(
  engine: Engine,
  unreachable: UnreachableRegistries,
  { image, registryPrefix }: Pick<Action, 'image' | 'registryPrefix'>,
  options: ImageOptions,
  events: PullEvents,
  signal: AbortSignal,
): Promise<string> {
  const prefix = options.prefix ?? registryPrefix;
  const reference = parseReference(withRegistry(image, options.registry, prefix));
  const mirrors = mirrorsOf(reference, options.mirrors ?? []);
  const copy = askedOnce((limited) => firstPresent(engine, [...mirrors, reference], limited));
  const isReachable = [...mirrors, reference].some(({ host }) => !unreachable.has(host));
  if (reference.digest !== undefined || !isReachable) {
    const present = await copy(signal);
    if (present !== undefined) return present;
  }

  const pull: Pull = { engine, unreachable, options, copy };
  const limitSeconds = options.pullTimeoutSeconds ?? 3600;
  const pulled = await inTime(engine.clock, reference.canonical, limitSeconds, events, signal, (limited, told) =>
    pullFromFirst(pull, mirrors, reference, told, limited),
  );
  if (typeof pulled === 'string') return pulled;
  const present = await copy(signal);
  if (present === undefined && prefix === 'never' && namesNoRegistry(image)) throw withHint(pulled, options.registry);
  if (present === undefined) throw pulled;
  if (!(pulled instanceof KnownOutage)) events.onWarning(`${pulled.message}; using the copy that is already here`);
  return present;
}

function askedOnce<Answer>(ask: (signal: AbortSignal) => Promise<Answer>): (signal: AbortSignal) => Promise<Answer> {
  let known: { readonly answer: Answer } | undefined;
  return async (signal) => {
    known ??= { answer: await ask(signal) };
    return known.answer;
  };
}

/** For who is used to tink-worker. */
function withHint(error: PullError, registry: string | undefined): PullError {
  if (registry === undefined) return error;
  const hint = `${registry} is not put in front of images that a current server sends: name them in full, or set --registry-prefix`;
  const { message, cause } = error;
  return error instanceof PullTimeoutError
    ? new PullTimeoutError(`${message} (${hint})`, { cause })
    : new PullError(`${message} (${hint})`, { cause });
}

/** Ends the pulling after a while. @returns what it returns, or why it was ended. */
async function inTime(
  clock: Clock,
  name: string,
  limitSeconds: number,
  events: PullEvents,
  signal: AbortSignal,
  pulling: (signal: AbortSignal, events: AttemptEvents) => Promise<string | PullError>,
): Promise<string | PullError> {
  let trouble = '';
  const onFailure = (message: string) => {
    trouble = `: ${message}`;
  };
  const late = new AbortController();
  const giveUp = () => late.abort(new PullTimeoutError(`no image ${name} within ${limitSeconds} s${trouble}`));
  using _ = clock.schedule(limitSeconds, giveUp);
  try {
    return await pulling(AbortSignal.any([signal, late.signal]), { ...events, onFailure });
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof PullTimeoutError) return error;
    throw error;
  }
}

/** Each mirror is asked once. @returns the name of the image where it was pulled from, or why it was not */
async function pullFromFirst(
  pull: Pull,
  mirrors: readonly ImageReference[],
  reference: ImageReference,
  events: AttemptEvents,
  signal: AbortSignal,
): Promise<string | PullError> {
  const { unreachable, copy, options } = pull;
  for (const mirror of mirrors) {
    if (unreachable.has(mirror.host)) continue;
    const failure = await pullFrom(pull, mirror, 1, events, signal);
    if (failure === undefined) return mirror.canonical;
    if (!(failure instanceof KnownOutage)) events.onWarning(`${failure.message}; asking the next registry`);
  }
  if (unreachable.has(reference.host) && (await copy(signal)) !== undefined)
    return new KnownOutage(`${reference.host} cannot be reached`);
  return (await pullFrom(pull, reference, options.pullAttempts ?? 10, events, signal)) ?? reference.canonical;
}

function mirrorsOf(reference: ImageReference, mirrors: readonly RegistryMirror[]): ImageReference[] {
  const rest = reference.canonical.slice(reference.canonical.indexOf('/'));
  return mirrors
    .filter((mirror) => normaliseHost(mirror.of) === reference.host)
    .map((mirror) => parseReference(`${mirror.at.replace(/^https?:\/\//, '').replace(/\/+$/, '')}${rest}`));
}

/** The name of a copy that is already here. */
async function firstPresent(
  engine: Engine,
  places: readonly ImageReference[],
  signal: AbortSignal,
): Promise<string | undefined> {
  for (const { canonical } of places) if (await isPresent(engine, canonical, signal)) return canonical;
  return undefined;
}

/** @returns why the image could not be pulled from there; `undefined`: it was. */
async function pullFrom(
  { engine, unreachable, options, copy }: Pull,
  reference: ImageReference,
  attempts: number,
  events: AttemptEvents,
  signal: AbortSignal,
): Promise<PullError | undefined> {
  const { host } = reference;
  const name = reference.canonical;
  const authentication = await authenticationFor(host, options, events);
  events.onPulling(name);
  const startedAtSeconds = engine.clock.monotonicSeconds();
  let isKnown = false;
  const pull = async (): Promise<undefined> => {
    await pullOnce(engine, name, authentication, options.pullStallSeconds ?? 600, events, signal);
    unreachable.delete(host);
    events.onPulled(name, engine.clock.monotonicSeconds() - startedAtSeconds);
  };
  const onFailure = async (error: unknown, attempt: number) => {
    if (!(error instanceof EngineError)) throw error;
    const { api } = engine;
    const reason = error.pullFailure ?? api.pullFailure(error.message, error.statusCode);
    const message = explainPullFailure(reason, error.message, reference, authentication !== undefined, api.trustAdvice);
    events.onFailure(message);
    isKnown = reason === 'unreachable' && unreachable.add(host) && (attempt === 1 || isKnown);
    if (attempt >= attemptsFor(reason, attempts, (await copy(signal)) !== undefined))
      throw new (isKnown ? KnownOutage : PullError)(message, { cause: error });
    if (attempt === 1) events.onWarning(`${message}; trying again`);
  };
  const { clock } = engine;
  const waits = { initialSeconds: 0.5, maximumSeconds: longestDelaySeconds, growth: 2 };
  return await retry(pull, { clock, signal, ...waits, onFailure }).catch((error: unknown) => {
    if (error instanceof PullError && !(error instanceof PullTimeoutError)) return error;
    throw error;
  });
}

async function isPresent(engine: Engine, name: string, signal: AbortSignal): Promise<boolean> {
  return await engine.call((api, limited) => api.hasImage(name, limited), signal);
}

async function authenticationFor(
  host: string,
  { credentials = [], dockerConfigDirectory }: ImageOptions,
  events: PullEvents,
): Promise<EngineAuthentication | undefined> {
  const given = credentialsFor(host, credentials);
  if (given !== undefined || dockerConfigDirectory === undefined) return given;
  try {
    return await storedCredentialsFor(host, dockerConfigDirectory);
  } catch (error) {
    // The registry may well answer without them; if not, its refusal fails the pull.
    events.onWarning((error as Error).message);
    return undefined;
  }
}

/** One attempt. An error in the middle of the progress report is as good as one at its start. */
async function pullOnce(
  engine: Engine,
  name: string,
  authentication: EngineAuthentication | undefined,
  stallSeconds: number,
  events: PullEvents,
  signal: AbortSignal,
): Promise<void> {
  const stalled = new AbortController();
  const stall = () => stalled.abort(new EngineError(`no progress for ${stallSeconds} s`, undefined));
  using timer = engine.clock.schedule(stallSeconds, stall);
  const either = AbortSignal.any([signal, stalled.signal]);
  const progress = await engine.call(
    (api, limited) => api.pullImage(name, authentication, limited),
    either,
    stallSeconds,
  );
  await followProgress(progress, engine.clock, either, (now) => {
    timer.restart();
    if (now !== undefined) events.onProgress(name, now);
  });
}

/** One line of the progress report (engine API, "Create an image"). */
const progressLine = z.object({
  id: z.string().optional(),
  status: z.string().optional(),
  progressDetail: z.object({ current: z.number().optional(), total: z.number().optional() }).optional(),
  error: z.string().optional(),
  errorDetail: z.object({ reason: z.enum(pullFailureReasons).optional() }).optional(),
});

async function followProgress(
  source: Readable,
  clock: Clock,
  signal: AbortSignal,
  onLine: (progress: PullProgress | undefined) => void,
): Promise<void> {
  const layers = new Map<string, { current: number; total: number }>();
  let reportedAt = clock.monotonicSeconds();
  const stop = () => source.destroy();
  signal.addEventListener('abort', stop, { once: true });
  try {
    for await (const text of createInterface({ input: source })) {
      if (text === '') continue;
      const line = progressLine.parse(JSON.parse(text));
      const { error, errorDetail } = line;
      if (error !== undefined) throw new EngineError(plainly(error), undefined, { pullFailure: errorDetail?.reason });
      count(layers, line);
      const isDue = layers.size > 0 && clock.monotonicSeconds() - reportedAt >= 1;
      if (isDue) reportedAt = clock.monotonicSeconds();
      onLine(isDue ? sumOf(layers) : undefined);
    }
    signal.throwIfAborted();
    if (source.errored !== null) throw source.errored;
    if (layers.size > 0) onLine(sumOf(layers));
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof EngineError) throw error;
    throw new EngineError(`the engine broke off the pull: ${(error as Error).message}`, undefined, { cause: error });
  } finally {
    signal.removeEventListener('abort', stop);
    source.destroy();
  }
}

function count(layers: Map<string, { current: number; total: number }>, line: z.output<typeof progressLine>): void {
  const { id, status, progressDetail } = line;
  if (id === undefined) return;
  const layer = layers.get(id) ?? { current: 0, total: 0 };
  // Only the download counts: extraction reports the same bytes again.
  if (status === 'Downloading') {
    const current = progressDetail?.current ?? layer.current;
    layers.set(id, { current, total: Math.max(progressDetail?.total ?? layer.total, current) });
  } else if (status === 'Download complete') {
    layers.set(id, { current: layer.total, total: layer.total });
  }
}

function sumOf(layers: ReadonlyMap<string, { current: number; total: number }>): PullProgress {
  let doneBytes = 0;
  let totalBytes = 0;
  for (const layer of layers.values()) {
    doneBytes += layer.current;
    totalBytes += layer.total;
  }
  return { doneBytes, totalBytes };
}
