import type { Clock } from '../../clock/clock.ts';
import { systemClock } from '../../clock/system.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { Action, Outcome } from '../action/action.ts';
import { Container, type ExitInfo, type RunOptions } from './container.ts';
import { hasOwnName, labels, labelsOf } from './container-identity.ts';
import { containerSpec, type Privileges } from './container-spec.ts';
import type { ContainerSummary } from './container-state.ts';
import type { Engine } from './engine.ts';
import { connectEngine, type EngineConnection } from './engine-connection.ts';
import { EngineError } from './engine-error.ts';
import type { ActionName, OnRuntimeEvent, Role, RuntimeEvent } from './event.ts';
import { type ImageArchives, loadImageArchives } from './image-archives.ts';
import { ensureImage, type ImageOptions, type PullEvents } from './images.ts';
import { Leftovers } from './leftovers.ts';
import { messageOf, verdictOf } from './outcome.ts';
import { PullError } from './pull-error.ts';
import type { BeforeStop, Runtime } from './runtime.ts';
import { UnreachableRegistries } from './unreachable-registries.ts';
import { makeWorkflowDirectory } from './workflow-directory.ts';

/** How actions are run. */
export interface ContainerRuntimeOptions extends ImageOptions {
  /** Default: the machine's. */
  readonly clock?: Clock | undefined;
  /**
   * Directory in which each workflow has one of its own, for example `/worker`. It must have the
   * same path for the engine.
   */
  readonly workDirectory: string;
  /**
   * Directory with archives of images, which are loaded into the engine at once, and deleted. No
   * image is looked for before. Default: none.
   */
  readonly imageDirectory?: string | undefined;
  /** Takes events; secrets in their texts are masked, except in output lines. */
  readonly onEvent: OnRuntimeEvent;
  /** Masks secrets in a text. */
  readonly redact: (text: string) => string;
  /** Masks secrets in a text that comes in parts; `continues`: another part follows. */
  readonly redactParts: () => (part: string, continues: boolean) => string;
  /** `all-available`: for kernels that refuse privileged containers. Default: `privileged`. */
  readonly privileges?: Privileges | undefined;
  /**
   * Network of actions that name none. Default: the engine's own default if it has a bridge, else
   * `host`.
   */
  readonly network?: string | undefined;
  /** For actions that name no limit, or one of zero or less. Default: 3600. */
  readonly defaultTimeoutSeconds?: number | undefined;
  /** Between the stop signal and the kill. Default: 5. */
  readonly stopGraceSeconds?: number | undefined;
  /** Timeout of the commands for failures and timeouts. Default: 600. */
  readonly reactionTimeoutSeconds?: number | undefined;
}

/** A runtime with the connections that it keeps to its engine. */
export type DisposableRuntime = Runtime & AsyncDisposable;

/** Context of one run of an action. */
interface ActionRun {
  readonly connection: EngineConnection;
  readonly unreachable: UnreachableRegistries;
  readonly defaultNetwork: (signal: AbortSignal) => Promise<string>;
  readonly leftovers: Leftovers;
  readonly archives: ImageArchives | undefined;
  readonly options: ContainerRuntimeOptions;
  /** Containers that this process works with, or keeps until they are released: no leftovers. */
  readonly active: Map<string, Container>;
  readonly action: Action;
  readonly name: ActionName;
  readonly signal: AbortSignal;
  readonly beforeStop: BeforeStop;
}

/**
 * Makes the runtime for an engine, which it disposes of. Nothing is sent before the first action,
 * except archives of images.
 * @param host Where the engine is, for messages.
 */
export function createContainerRuntime(
  engine: Engine,
  host: string,
  options: ContainerRuntimeOptions,
): DisposableRuntime {
  const { clock = systemClock } = options;
  const connection = connectEngine(engine, host, clock, (reachable, message) => {
    options.onEvent({ kind: 'engine', reachable, message: options.redact(message) });
  });
  const unreachable = new UnreachableRegistries(clock);
  const defaultNetwork = rememberDefaultNetwork(connection);
  const leftovers = new Leftovers(connection);
  const archives =
    options.imageDirectory === undefined
      ? undefined
      : loadImageArchives(connection, options.imageDirectory, options.onEvent);
  const active = new Map<string, Container>();
  const common = { connection, unreachable, defaultNetwork, leftovers, archives, options, active };
  const prepare = (action: Action, signal: AbortSignal, beforeStop: BeforeStop = async () => {}): ActionRun => {
    const name = { workflowId: action.workflowId, taskName: action.taskName, name: action.name, id: action.id };
    return { ...common, action, name, signal, beforeStop };
  };
  return {
    async run(action, signal, beforeStop) {
      const current = prepare(action, signal, beforeStop);
      return await finish(
        current,
        async () =>
          (leftovers.arePossible(action.workflowId) ? await adopt(current) : undefined) ??
          createContainer(current, 'action', action.command),
      );
    },
    async resume(action, signal, beforeStop) {
      const current = prepare(action, signal, beforeStop);
      const search = adopt(current);
      const isMissing = await search.then(
        (container) => container === undefined,
        // A search that fails is an outcome, as with run().
        () => false,
      );
      return isMissing ? undefined : await finish(current, async () => existing(await search));
    },
    async discard(action, signal) {
      const current = prepare(action, signal);
      const find = async () => (await findLeft(current)).filter((container) => isOf(container, action));
      for (const container of await find()) await removeLeftover(current, container);
      const stays = (await find()).find(isAdoptable);
      if (stays !== undefined) throw new Error(`the container ${stays.name} is still there`);
    },
    async release(action) {
      const container = active.get(keyOf(action));
      active.delete(keyOf(action));
      await container?.[Symbol.asyncDispose]();
    },
    async [Symbol.asyncDispose]() {
      await archives?.[Symbol.asyncDispose]();
      await engine[Symbol.asyncDispose]();
    },
  };
}

function existing(container: Container | undefined): Container {
  if (container === undefined) throw new Error('no container');
  return container;
}

function keyOf(action: Action): string {
  return JSON.stringify([action.workerId, action.workflowId, action.id]);
}

/**
 * 1. A container of this action that an earlier agent left is adopted; its other containers are
 *    removed.
 * 2. Otherwise the image is pulled and a container made.
 * 3. The container runs until it exits, or to the limit. It is kept until it is released.
 * 4. After a failure or a timeout, the action's command for it runs; it does not change the
 *    outcome.
 */
async function finish(current: ActionRun, obtain: () => Promise<Container>): Promise<Outcome> {
  const { connection, options, signal } = current;
  const beganAt = connection.clock.now();
  try {
    const { exit, image, adopted } = await runToExit(current, obtain); // 1 to 3
    const outcome: Outcome = {
      verdict: verdictOf(exit),
      message: options.redact(messageOf(exit, limitOf(current))),
      startedAt: adopted ? exit.startedAt : beganAt,
      endedAt: exit.timedOut ? exit.endedAt : connection.clock.now(),
    };
    const { exitCode } = exit;
    emit(current, { kind: 'ended', action: current.name, role: 'action', exitCode, message: outcome.message });
    await react(current, exit, image); // 4
    return outcome;
  } catch (error) {
    current.leftovers.markPossible();
    signal.throwIfAborted();
    const isLate = error instanceof PullError && error.reason === 'timed-out';
    const message = options.redact(`${isLate ? 'timed out' : 'could not be run'}: ${describe(error)}`);
    return { verdict: isLate ? 'TIMEOUT' : 'FAILED', message, startedAt: beganAt, endedAt: connection.clock.now() };
  }
}

async function runToExit(
  current: ActionRun,
  obtain: () => Promise<Container>,
): Promise<{ exit: ExitInfo; image: string; adopted: boolean }> {
  const key = keyOf(current.action);
  const container = await obtain();
  current.active.set(key, container);
  try {
    return { exit: await container.finish(current.signal), image: container.image, adopted: container.adopted };
  } catch (error) {
    // Its exit is the result of the action, which is not recorded yet.
    if (container.hasExited) throw error;
    await current.beforeStop();
    current.active.delete(key);
    await container[Symbol.asyncDispose]();
    throw error;
  }
}

/**
 * Removes what earlier agents of this worker left; the container of this very action, if it was
 * started, is returned instead.
 */
async function adopt(current: ActionRun): Promise<Container | undefined> {
  const { leftovers, action } = current;
  leftovers.markListed(action.workflowId);
  const left = await findLeft(current);
  const own = left.find((container) => isOf(container, action) && isAdoptable(container));
  for (const container of left) {
    if (container !== own) await removeLeftover(current, container);
  }
  return own && toContainer(current, own);
}

/** Containers of this worker that this process does not use. */
async function findLeft({ connection, active, action, signal }: ActionRun): Promise<readonly ContainerSummary[]> {
  const wanted = [`${labels.worker}=${action.workerId}`, labels.role];
  const found = await connection.call((engine, limited) => engine.listContainers(wanted, limited), signal);
  const inUse = new Set([...active.values()].map(({ id }) => id));
  return found.filter((container) => !inUse.has(container.id) && hasOwnName(container));
}

function isOf(container: ContainerSummary, action: Action): boolean {
  return Object.entries(labelsOf(action, 'action')).every(([label, value]) => container.labels[label] === value);
}

/** One that was never started, or is half removed, has no result. */
function isAdoptable({ status }: ContainerSummary): boolean {
  return status === 'running' || status === 'exited';
}

async function removeLeftover(current: ActionRun, found: ContainerSummary): Promise<void> {
  const { name, status } = found;
  warn(current, `removing the container ${name} (${status}), left over from an earlier agent`);
  await using _ = toContainer(current, found);
}

function toContainer(current: ActionRun, { id, name, image }: ContainerSummary): Container {
  const options = runOptions(current, 'action', limitOf(current), () => container);
  const container = new Container(current.connection, options, { id, name, image, adopted: true });
  return container;
}

async function createContainer(
  current: ActionRun,
  role: Role,
  command: readonly string[],
  image?: string,
): Promise<Container> {
  const { connection, unreachable, options, action, signal } = current;
  await current.archives?.loaded(signal);
  const limitSeconds = role === 'action' ? limitOf(current) : (options.reactionTimeoutSeconds ?? 600);
  const spec = containerSpec(action, {
    role,
    command,
    image: image ?? (await ensureImage(connection, unreachable, action, options, pullEvents(current), signal)),
    workflowDirectory: action.sharesDirectory
      ? await makeWorkflowDirectory(options.workDirectory, action.workflowId)
      : undefined,
    network: action.networkMode || options.network || (await current.defaultNetwork(signal)),
    privileges: options.privileges ?? 'privileged',
  });
  const container: Container = await Container.create(
    connection,
    spec,
    runOptions(current, role, limitSeconds, () => container),
    signal,
  );
  return container;
}

/**
 * The network of containers whose action names none. Without a default network an engine gives such
 * containers no network at all. The engine is asked once, and again after it was unavailable: its
 * configuration may have changed.
 */
function rememberDefaultNetwork(connection: EngineConnection): (signal: AbortSignal) => Promise<string> {
  let known: { readonly outages: number; readonly network: string } | undefined;
  return async (signal) => {
    const outages = connection.outages();
    if (known?.outages !== outages) {
      const exists = await connection.call((engine, limited) => engine.hasDefaultNetwork(limited), signal);
      known = { outages, network: exists ? 'default' : 'host' };
    }
    return known.network;
  };
}

function limitOf({ action, options }: ActionRun): number {
  const { timeoutSeconds } = action;
  return timeoutSeconds !== undefined && timeoutSeconds > 0 ? timeoutSeconds : (options.defaultTimeoutSeconds ?? 3600);
}

/**
 * As in tink-worker v0.1: after a time-out its own command runs if there is one, else the one for
 * failures.
 */
async function react(current: ActionRun, exit: ExitInfo, image: string): Promise<void> {
  const { action, signal } = current;
  if (verdictOf(exit) === 'SUCCESS') return;
  const role = exit.timedOut && action.onTimeout.length > 0 ? 'on-timeout' : 'on-failure';
  const command = role === 'on-timeout' ? action.onTimeout : action.onFailure;
  if (command.length === 0) return;
  try {
    await using container = await createContainer(current, role, command, image);
    using _ = markActive(current, role, container);
    const { exitCode, ...rest } = await container.finish(signal);
    const message = messageOf({ exitCode, ...rest }, current.options.reactionTimeoutSeconds ?? 600);
    emit(current, { kind: 'ended', action: current.name, role, exitCode, message: current.options.redact(message) });
  } catch (error) {
    current.leftovers.markPossible();
    signal.throwIfAborted();
    warn(current, `the ${role} command could not be run: ${describe(error)}`);
  }
}

function runOptions(current: ActionRun, role: Role, limitSeconds: number, container: () => Container): RunOptions {
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
    masking: options,
    onLeftover: () => current.leftovers.markPossible(),
  };
}

function pullEvents(current: ActionRun): PullEvents {
  const { name: action } = current;
  return {
    onPulling: (image) => emit(current, { kind: 'pulling', action, image }),
    onProgress: (image, progress) => emit(current, { kind: 'pull-progress', action, image, ...progress }),
    onPulled: (image, seconds) => emit(current, { kind: 'pulled', action, image, seconds }),
    onWarning: (message) => warn(current, message),
  };
}

function markActive({ active, action }: ActionRun, role: Role, container: Container): Disposable {
  const key = `${role} ${keyOf(action)}`;
  active.set(key, container);
  return { [Symbol.dispose]: () => active.delete(key) };
}

function warn(current: ActionRun, message: string): void {
  emit(current, { kind: 'warning', action: current.name, message: current.options.redact(message) });
}

/** Events other than output apply no back-pressure. */
function emit({ options }: ActionRun, event: Exclude<RuntimeEvent, { kind: 'output' }>): void {
  void options.onEvent(event);
}

function describe(error: unknown): string {
  if (!(error instanceof EngineError)) return reasonOf(error);
  return error.reason === 'no-such-container' ? 'another program removed its container' : error.why;
}
