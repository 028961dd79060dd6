import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import type { Action, Outcome } from '../action/action.ts';
import { Container, type Ending, type RunOptions } from './container.ts';
import { containerSettings, hasOwnName, labels, labelsOf } from './container-settings.ts';
import { createEngine, type Engine, EngineError } from './engine.ts';
import type { ContainerSummary, EngineApi } from './engine-api.ts';
import type { ActionName, OnRuntimeEvent, Role, RuntimeEvent } from './event.ts';
import { ensureImage, type ImageOptions, type PullEvents, PullTimeoutError } from './images.ts';
import { LeftOvers } from './left-overs.ts';
import { messageOf, verdictOf } from './outcome.ts';
import type { Runtime } from './runtime.ts';
import { UnreachableRegistries } from './unreachable-registries.ts';
import { makeWorkflowDirectory } from './workflow-directory.ts';

/** How actions are run. */
export interface ContainerRuntimeOptions extends ImageOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /** Directory in which each workflow has one of its own, for example `/worker`. It must have the same path for the engine. */
  readonly workDirectory: string;
  /** Takes what is to be known; secrets in its texts are masked, except in output lines. */
  readonly onEvent: OnRuntimeEvent;
  /** Masks secrets in a text. */
  readonly redact: (text: string) => string;
  /** `all-available`: for kernels that refuse privileged containers, all capabilities and devices there are. Default: `privileged`. */
  readonly privileges?: 'privileged' | 'all-available' | undefined;
  /** Network of actions that name none. Default: the engine's own default if it has a bridge, else `host`. */
  readonly network?: string | undefined;
  /** For actions that name no limit, or one of zero or less. Default: 3600. */
  readonly defaultTimeoutSeconds?: number | undefined;
  /** Between the request to end and the end by force. Default: 5. */
  readonly stopGraceSeconds?: number | undefined;
  /** For the commands that react to a failure. Default: 600. */
  readonly reactionTimeoutSeconds?: number | undefined;
}

/** What all steps of one run need. */
interface Run {
  readonly engine: Engine;
  readonly unreachable: UnreachableRegistries;
  readonly facts: EngineFacts;
  readonly leftOvers: LeftOvers;
  readonly options: ContainerRuntimeOptions;
  /** Containers that this process works with, or keeps until they are released: not left over. */
  readonly active: Map<string, Container>;
  readonly action: Action;
  readonly name: ActionName;
  readonly signal: AbortSignal;
}

/**
 * Makes the runtime for an engine. Nothing is sent before the first action.
 * @param host Where the engine is, for messages.
 */
export function createContainerRuntime(api: EngineApi, host: string, options: ContainerRuntimeOptions): Runtime {
  const { clock = systemClock } = options;
  const engine = createEngine(api, host, clock, (reachable, message) => {
    options.onEvent({ kind: 'engine', reachable, message: options.redact(message) });
  });
  const unreachable = new UnreachableRegistries(clock);
  const facts = rememberedFacts(engine);
  const leftOvers = new LeftOvers(engine);
  const active = new Map<string, Container>();
  const prepare = (action: Action, signal: AbortSignal): Run => {
    const name = { workflowId: action.workflowId, taskName: action.taskName, name: action.name, id: action.id };
    return { engine, unreachable, facts, leftOvers, options, active, action, name, signal };
  };
  return {
    async run(action, signal) {
      const current = prepare(action, signal);
      return await finish(
        current,
        async () =>
          (leftOvers.arePossible(action.workflowId) ? await takeOver(current) : undefined) ??
          createContainer(current, 'action', action.command),
      );
    },
    async resume(action, signal) {
      const current = prepare(action, signal);
      const leftOver = await takeOver(current);
      return leftOver && (await finish(current, async () => leftOver));
    },
    async release(action) {
      const container = active.get(keyOf(action));
      active.delete(keyOf(action));
      await container?.[Symbol.asyncDispose]();
    },
  };
}

function keyOf(action: Action): string {
  return JSON.stringify([action.workerId, action.workflowId, action.id]);
}

/**
 * 1. What an earlier agent left of this action is taken over; what it left of others is removed.
 * 2. Otherwise the image is pulled and a container made.
 * 3. The container runs to its end, or to the limit. It is kept until it is released.
 * 4. If that was no success, the command for such cases runs; it changes nothing of the outcome.
 */
async function finish(current: Run, obtain: () => Promise<Container>): Promise<Outcome> {
  const { engine, options, signal } = current;
  const beganAt = engine.clock.now();
  try {
    const { ending, image, adopted } = await runToEnd(current, obtain); // 1 to 3
    const outcome: Outcome = {
      verdict: verdictOf(ending),
      message: options.redact(messageOf(ending, limitOf(current))),
      startedAt: adopted ? ending.startedAt : beganAt,
      endedAt: ending.timedOut ? ending.endedAt : engine.clock.now(),
    };
    emit(current, {
      kind: 'ended',
      action: current.name,
      role: 'action',
      exitCode: ending.exitCode,
      message: outcome.message,
    });
    await react(current, ending, image); // 4
    return outcome;
  } catch (error) {
    current.leftOvers.suspect();
    signal.throwIfAborted();
    const isLate = error instanceof PullTimeoutError;
    const message = options.redact(`${isLate ? 'timed out' : 'could not be run'}: ${reasonOf(error)}`);
    return { verdict: isLate ? 'TIMEOUT' : 'FAILED', message, startedAt: beganAt, endedAt: engine.clock.now() };
  }
}

async function runToEnd(
  current: Run,
  obtain: () => Promise<Container>,
): Promise<{ ending: Ending; image: string; adopted: boolean }> {
  const key = keyOf(current.action);
  const container = await obtain();
  current.active.set(key, container);
  try {
    return { ending: await container.finish(current.signal), image: container.image, adopted: container.adopted };
  } catch (error) {
    current.active.delete(key);
    await container[Symbol.asyncDispose]();
    throw error;
  }
}

/** Clears up what earlier agents of this worker left behind; the container of this very action, if it was started, is returned instead. */
async function takeOver(current: Run): Promise<Container | undefined> {
  const { engine, leftOvers, action, signal } = current;
  leftOvers.looking(action.workflowId);
  const wanted = [`${labels.worker}=${action.workerId}`, labels.role];
  const found = await engine.call((api, limited) => api.listContainers(wanted, limited), signal);
  const inUse = new Set([...current.active.values()].map(({ id }) => id));
  const leftOver = found.filter((container) => !inUse.has(container.Id) && hasOwnName(container));
  const own = leftOver.find((container) => isOf(container, action) && isWorthTaking(container));
  for (const container of leftOver) {
    if (container !== own) await discard(current, container);
  }
  return own && toContainer(current, own);
}

function isOf(container: ContainerSummary, action: Action): boolean {
  return Object.entries(labelsOf(action, 'action')).every(([label, value]) => container.Labels[label] === value);
}

/** What was never started, or is half removed, tells nothing. */
function isWorthTaking({ State }: ContainerSummary): boolean {
  return ['running', 'paused', 'restarting', 'exited'].includes(State);
}

async function discard(current: Run, found: ContainerSummary): Promise<void> {
  const name = found.Names[0] ?? found.Id;
  warn(current, `removing the container ${name} (${found.State}), left over from an agent that ended before it did`);
  await using _ = toContainer(current, found);
}

function toContainer(current: Run, { Id, Names, Image }: ContainerSummary): Container {
  const name = (Names[0] ?? Id).replace(/^\//, '');
  const options = runOptions(current, 'action', limitOf(current), () => container);
  const container = new Container(current.engine, options, { id: Id, name, image: Image, adopted: true });
  return container;
}

async function createContainer(
  current: Run,
  role: Role,
  command: readonly string[],
  image?: string,
): Promise<Container> {
  const { engine, unreachable, facts, options, action, signal } = current;
  const limitSeconds = role === 'action' ? limitOf(current) : (options.reactionTimeoutSeconds ?? 600);
  const settings = await containerSettings(action, {
    role,
    command,
    image: image ?? (await ensureImage(engine, unreachable, action, options, pullEvents(current), signal)),
    workflowDirectory: action.sharesDirectory
      ? await makeWorkflowDirectory(options.workDirectory, action.workflowId)
      : undefined,
    networkMode: action.networkMode || options.network || (await facts.defaultNetwork(signal)),
    privileges: options.privileges ?? 'privileged',
    logDriver: await facts.logDriver(signal),
  });
  const container: Container = await Container.create(
    engine,
    settings,
    runOptions(current, role, limitSeconds, () => container),
    signal,
  );
  return container;
}

/** What is the same for all containers of an engine. */
interface EngineFacts {
  /** See {@link EngineApi.logDriver}. */
  logDriver(signal: AbortSignal): Promise<string | undefined>;
  /** The network of containers for which nobody asks for another one. */
  defaultNetwork(signal: AbortSignal): Promise<string>;
}

function rememberedFacts(engine: Engine): EngineFacts {
  return {
    logDriver: remembered(engine, (signal) => engine.call((api, limited) => api.logDriver(limited), signal)),
    // An engine without a bridge gives its containers no network at all unless asked.
    defaultNetwork: remembered(engine, async (signal) =>
      (await engine.call((api, limited) => api.hasBridge(limited), signal)) ? 'default' : 'host',
    ),
  };
}

/** An engine is asked once, until it has been away: it may have come back with another configuration. */
function remembered<Fact>(
  engine: Engine,
  ask: (signal: AbortSignal) => Promise<Fact>,
): (signal: AbortSignal) => Promise<Fact> {
  let known: { readonly outages: number; readonly fact: Fact } | undefined;
  return async (signal) => {
    const outages = engine.outages();
    if (known?.outages !== outages) known = { outages, fact: await ask(signal) };
    return known.fact;
  };
}

function limitOf({ action, options }: Run): number {
  const { timeoutSeconds } = action;
  return timeoutSeconds !== undefined && timeoutSeconds > 0 ? timeoutSeconds : (options.defaultTimeoutSeconds ?? 3600);
}

/** As the first generation of workers did: the command for timeouts is preferred for these, the other one serves for all. */
async function react(current: Run, ending: Ending, image: string): Promise<void> {
  const { action, signal } = current;
  if (verdictOf(ending) === 'SUCCESS') return;
  const role = ending.timedOut && action.onTimeout.length > 0 ? 'on-timeout' : 'on-failure';
  const command = role === 'on-timeout' ? action.onTimeout : action.onFailure;
  if (command.length === 0) return;
  try {
    await using container = await createContainer(current, role, command, image);
    using _ = markActive(current, role, container);
    const { exitCode, ...rest } = await container.finish(signal);
    const message = messageOf({ exitCode, ...rest }, current.options.reactionTimeoutSeconds ?? 600);
    emit(current, { kind: 'ended', action: current.name, role, exitCode, message: current.options.redact(message) });
  } catch (error) {
    current.leftOvers.suspect();
    signal.throwIfAborted();
    warn(current, `the ${role} command could not be run: ${reasonOf(error)}`);
  }
}

function runOptions(current: Run, role: Role, limitSeconds: number, container: () => Container): RunOptions {
  const { options, name: action } = current;
  return {
    limitSeconds,
    graceSeconds: options.stopGraceSeconds ?? 5,
    onStarted() {
      const { name, adopted } = container();
      emit(current, { kind: 'started', action, role, container: name, adopted });
    },
    onLine: (line) => options.onEvent({ kind: 'output', action, role, ...line }),
    onWarning: (message) => warn(current, message),
    onKept: () => current.leftOvers.suspect(),
  };
}

function pullEvents(current: Run): PullEvents {
  const { name: action } = current;
  return {
    onPulling: (image) => emit(current, { kind: 'pulling', action, image }),
    onProgress: (image, progress) => emit(current, { kind: 'pull-progress', action, image, ...progress }),
    onPulled: (image, seconds) => emit(current, { kind: 'pulled', action, image, seconds }),
    onWarning: (message) => warn(current, message),
  };
}

function markActive({ active, action }: Run, role: Role, container: Container): Disposable {
  const key = `${role} ${keyOf(action)}`;
  active.set(key, container);
  return { [Symbol.dispose]: () => active.delete(key) };
}

function warn(current: Run, message: string): void {
  emit(current, { kind: 'warning', action: current.name, message: current.options.redact(message) });
}

/** Only output may be held up by whoever takes the events. */
function emit({ options }: Run, event: Exclude<RuntimeEvent, { kind: 'output' }>): void {
  void options.onEvent(event);
}

function reasonOf(error: unknown): string {
  if (error instanceof EngineError && error.statusCode === 404 && /No such container/i.test(error.message)) {
    return 'its container is gone: somebody else removed it';
  }
  return error instanceof Error ? error.message : String(error);
}
