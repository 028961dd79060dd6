/**
 * A machine with an agent, a server, a registry and an engine in virtual time. Real: the loop, the
 * journal, the transport down to the messages of the protocol, the container runtime down to the
 * requests of the engine, log and redactor. Simulated, each in a file of its own: what is below
 * those (the network, the disk, the engine), and the process of the agent, which can be killed.
 */
import type { Action, Outcome } from '../../agent/action/action.ts';
import { runAgent } from '../../agent/agent.ts';
import { type Journal, openJournal } from '../../agent/journal.ts';
import { createLog, messageOf } from '../../agent/log/log.ts';
import { createRedactor } from '../../agent/log/redact.ts';
import { createRuntimeLog } from '../../agent/log/runtime-log.ts';
import type { Power } from '../../agent/power/power.ts';
import { createContainerRuntime } from '../../agent/runtime/container-runtime.ts';
import type { ContainerSpec } from '../../agent/runtime/container-spec.ts';
import { createServerTransport } from '../../agent/transport/grpc/server.ts';
import type { Clock } from '../../clock/clock.ts';
import type { EventRecord, WorkflowRecord } from '../sandbox/tink-server/records.ts';
import type { ServerDialect } from '../sandbox/tink-server/services.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';
import { Chance, type Deviation, type Deviations, logarithmic } from './chance.ts';
import { type ActionFacts, CANARY, checkRecord, checkStart, type Violate, type WorkflowFacts } from './checks.ts';
import { Disk, type MissingSync } from './disk.ts';
import { type SimulatedContainer, SimulatedEngine } from './engine.ts';
import { Life } from './life.ts';
import { Network } from './network.ts';
import { actionsOf, daySeconds, daysOf, type PlannedEvent, planOf, settingsOf, type WorldSettings } from './plan.ts';
import { SimulatedServer } from './server.ts';

export interface WorldOptions {
  readonly seed: number;
  readonly dialect: ServerDialect;
  /** Exists; the directories of workflows are made in it. */
  readonly workDirectory: string;
  /** These deviations and no others. Default: by the seed. */
  readonly replayed?: Deviations | undefined;
  /** The run ends then, whatever is left to do. Default: when all work is done. */
  readonly untilSeconds?: number | undefined;
  readonly missingSync?: MissingSync | undefined;
}

export interface WorldResult {
  /** Of the first violation. */
  readonly violation: string | undefined;
  /** What was not as usual, workflows included. */
  readonly deviations: Deviations;
  /** What happened, a line each; the last thousand. */
  readonly story: readonly string[];
  readonly simulatedSeconds: number;
  readonly counts: Readonly<Record<string, number>>;
}

/** After the faults so long the agent has to finish its work. */
const settleSeconds = 3 * daySeconds;
const maxStoryLines = 1000;
/** A stale request may be on its way for so long. */
const staleSeconds = 700;

export async function runWorld(options: WorldOptions): Promise<WorldResult> {
  return await new World(options).run();
}

class World {
  readonly #options: WorldOptions;
  readonly #settings: WorldSettings;
  readonly #time: VirtualClock;
  /** Its end stops all that is not the agent. */
  readonly #rest: Life;
  readonly #clock: Clock;
  readonly #chance: Chance;
  readonly #server: SimulatedServer;
  readonly #network: Network;
  readonly #engine: SimulatedEngine;
  readonly #disk: Disk;
  readonly #workflows = new Map<string, WorkflowFacts>();
  readonly #actions = new Map<string, ActionFacts>();
  readonly #story: string[] = [];
  readonly #counts: Record<string, number> = {};
  readonly #over = Promise.withResolvers<void>();
  #violation: string | undefined;
  #life: Life | undefined;
  /** The action whose start is in the journal, and not its end. */
  #current: ActionFacts | undefined;
  #lastTrouble: string | undefined;
  #mayPanicUntil = 0;
  #requests = { second: 0, count: 0 };
  #successes = 0;
  #reboots = 0;

  constructor(options: WorldOptions) {
    const { seed, dialect, replayed, missingSync } = options;
    this.#options = options;
    this.#settings = settingsOf(seed);
    const { severity } = this.#settings;
    this.#time = new VirtualClock({ seed });
    this.#rest = new Life(this.#time);
    this.#clock = this.#rest.clock;
    this.#chance = new Chance(seed, replayed);
    const common = { clock: this.#clock, chance: this.#chance, severity, tell: this.#tell };
    this.#server = new SimulatedServer({
      ...{ dialect, clock: this.#clock, onEvent: (workflow, event) => this.#onRecord(workflow, event) },
      onPanic: (why) => this.#onPanic(why),
    });
    this.#network = new Network({
      ...common,
      server: this.#server,
      onStale: () => this.#onStale(),
      onRequest: (name) => this.#onRequest(name),
      kill: (how, why) => this.#kill(how, why, 1),
    });
    this.#engine = new SimulatedEngine({
      ...common,
      courseOf: (spec) => this.#courseOf(spec),
      registryPassword: `${CANARY}of-the-registry`,
      kill: (why) => this.#kill('agent', why, 1),
      onStart: (container) => this.#onStart(container),
      onExit: (container) => this.#onExit(container),
      onPullFailure: () => this.#disturb(),
      onTrouble: () => this.#disturb(),
    });
    this.#disk = new Disk({
      ...common,
      missingSync,
      kill: (how, why) => this.#kill(how, why, 1),
      onWrite: (text) => {
        if (text.includes(CANARY)) this.#violate(6, `the journal has a secret: ${text}`);
      },
    });
  }

  async run(): Promise<WorldResult> {
    const { seed, dialect, replayed, untilSeconds } = this.#options;
    const days = daysOf(seed);
    const { interrupted, finish, pollSeconds } = this.#settings;
    this.#tell(
      `server ${dialect}, interrupted actions: ${interrupted}, at the end: ${finish}, a poll every ${Math.round(pollSeconds)} s`,
    );
    for (const [index, event] of planOf(seed).entries()) {
      const key = `plan ${index}`;
      const deviation: Deviation = { what: event.what, size: event.size };
      if (replayed !== undefined && !replayed.has(key)) continue;
      this.#clock.schedule(event.atSeconds, () => {
        this.#chance.taken.set(key, deviation);
        this.#perform(event, index);
      });
    }
    this.#clock.schedule(days * daySeconds, () => this.#settle());
    if (untilSeconds !== undefined) this.#clock.schedule(untilSeconds, this.#over.resolve);
    void this.#startAgent();
    await this.#over.promise;
    this.#life?.die();
    this.#rest.die();
    return {
      violation: this.#violation,
      deviations: this.#chance.taken,
      story: this.#story,
      simulatedSeconds: this.#clock.monotonicSeconds(),
      counts: this.#counts,
    };
  }

  readonly #tell = (text: string): void => {
    const seconds = this.#clock.monotonicSeconds();
    const day = Math.floor(seconds / daySeconds);
    const time = new Date((seconds % daySeconds) * 1000).toISOString().slice(11, 23);
    this.#story.push(`${day} d ${time} ${text}`);
    if (this.#story.length > maxStoryLines) this.#story.shift();
  };

  readonly #violate: Violate = (invariant, what) => {
    if (this.#violation !== undefined) return;
    this.#violation = `invariant ${invariant}: ${what}`;
    this.#tell(this.#violation);
    this.#over.resolve();
  };

  #count(what: string): void {
    this.#counts[what] = (this.#counts[what] ?? 0) + 1;
  }

  /** What the agent does from now on may depend on more than the program of its action. */
  #disturb(): void {
    if (this.#current !== undefined) this.#current.wasDisturbed = true;
  }

  #perform({ what, seconds, size }: PlannedEvent, index: number): void {
    if (what !== 'workflow' && what !== 'workflow deleted') this.#tell(`${what} for ${seconds.toFixed(1)} s`);
    this.#count(what);
    const later = (callback: () => void) => void this.#clock.schedule(seconds, callback);
    switch (what) {
      case 'workflow':
        this.#createWorkflow(index);
        return;
      case 'workflow deleted':
        this.#deleteWorkflow();
        return;
      case 'agent killed':
        this.#kill('agent', 'from outside', seconds);
        return;
      case 'agent stopped':
        this.#stop(size);
        return;
      case 'power lost':
        this.#kill('power', 'from outside', seconds, size);
        return;
      case 'server away':
        this.#server.stop();
        later(() => this.#server.start());
        return;
      case 'network silent':
        this.#network.state = 'silent';
        later(() => {
          this.#network.state = 'up';
        });
        return;
      case 'engine away':
        this.#disturb();
        this.#engine.stop();
        later(() => this.#engine.start());
        return;
      case 'engine kills all':
        this.#disturb();
        this.#engine.killAll();
        this.#engine.stop();
        later(() => this.#engine.start());
        return;
      case 'registry away':
        this.#engine.isRegistryUp = false;
        later(() => {
          this.#engine.isRegistryUp = true;
        });
        return;
      case 'clock set':
        this.#disturb();
        this.#time.setTimeOfDay(new Date(this.#clock.now().getTime() + (size < 0.5 ? -1 : 1) * daySeconds * 1000));
    }
  }

  /** SIGTERM, and SIGKILL if the agent has not ended soon. */
  #stop(size: number): void {
    const life = this.#life;
    if (life === undefined) return;
    // Else an action that the agent has stopped runs again: its end is still that of its program.
    if (this.#settings.interrupted === 'fail') this.#disturb();
    life.stop.abort(new Error('it received SIGTERM'));
    this.#clock.schedule(logarithmic(0.001, 10, size), () => {
      if (life.isAlive) this.#kill('agent', 'after SIGTERM', 1);
    });
  }

  /** A current server works on a machine's first workflow only: those before it are deleted. */
  #createWorkflow(index: number): void {
    const { seed, dialect } = this.#options;
    for (const [id, facts] of this.#workflows) {
      if (facts.isDeleted) continue;
      if (!this.#server.isOver(id)) {
        if (dialect === 'current') {
          this.#tell('the workflow before it has not ended: no new one');
          return;
        }
        continue;
      }
      if (dialect !== 'current' && this.#workflows.size < 6) continue;
      facts.isDeleted = true;
      this.#delete(id);
    }
    const name = `w${index}`;
    const planned = actionsOf(seed * 1000 + index);
    const actions = planned.map((action, position): ActionFacts => {
      const facts = { starts: 0, exits: [], journalled: undefined, wasDisturbed: false };
      return { ...action, ...facts, name: `${name}-a${position}` };
    });
    for (const action of actions) this.#actions.set(action.name, action);
    const id = this.#server.createWorkflow(name, templateOf(name, actions));
    const state = { position: 0, isRunning: false, ended: undefined, isDeleted: false, isStale: false };
    this.#workflows.set(id, { name, actions, ...state });
    const list = actions.map(
      ({ seconds, exitCode, timeoutSeconds }) =>
        `${seconds} s${exitCode === 0 ? '' : `, exit code ${exitCode}`}${seconds < timeoutSeconds ? '' : `, limit ${timeoutSeconds} s`}`,
    );
    this.#tell(`workflow ${name}: ${list.join('; ')}`);
  }

  #deleteWorkflow(): void {
    const [id, facts] = [...this.#workflows].findLast(([, { isDeleted }]) => !isDeleted) ?? [];
    if (id === undefined || facts === undefined) return;
    this.#tell(`workflow ${facts.name} is deleted`);
    facts.isDeleted = true;
    for (const action of facts.actions) action.wasDisturbed = true;
    this.#delete(id);
  }

  #delete(id: string): void {
    this.#server.deleteWorkflow(id);
    this.#mayPanicUntil = this.#clock.monotonicSeconds() + staleSeconds;
  }

  /** From now on nothing goes wrong. */
  #settle(): void {
    this.#tell('no further faults');
    this.#chance.end();
    const check = () => {
      const open = [...this.#workflows].filter(
        ([id, workflow]) => !workflow.isDeleted && !this.#server.isOver(id) && !isStuck(workflow),
      );
      if (open.length === 0) return this.#over.resolve();
      if (this.#clock.monotonicSeconds() < daysOf(this.#options.seed) * daySeconds + settleSeconds)
        return void this.#clock.schedule(600, check);
      const names = open.map(([, { name }]) => name).join();
      this.#violate(3, `the agent does not finish ${names}, though nothing has gone wrong for three days`);
    };
    check();
  }

  /** @param size how much of what was not synced survives */
  #kill(how: 'agent' | 'power', why: string, awaySeconds: number, size = 0): void {
    this.#count(how === 'agent' ? 'agent killed in all' : 'power lost in all');
    this.#tell(how === 'agent' ? `the agent is killed ${why}` : `the machine loses its power ${why}`);
    if (this.#settings.interrupted === 'fail') this.#disturb();
    const wasAlive = this.#life?.isAlive === true;
    this.#life?.die();
    if (how === 'power') {
      this.#disk.losePower(size);
      this.#engine.clear();
    }
    if (wasAlive) this.#clock.schedule(awaySeconds, () => void this.#startAgent());
  }

  async #startAgent(): Promise<void> {
    const life = new Life(this.#time);
    this.#life = life;
    this.#lastTrouble = undefined;
    this.#tell('the agent starts');
    this.#count('agents');
    const { clock } = life;
    const redactor = createRedactor();
    const registryPassword = `${CANARY}of-the-registry`;
    redactor.learn(registryPassword);
    const write = (line: string) => this.#onLog(life, line);
    const log = createLog({ clock, level: 'info', format: 'text', redactor, write });
    let journal: Journal;
    try {
      const onDamage = (message: string) => this.#violate(3, message);
      journal = await openJournal('/state', onDamage, clock, this.#disk.storageFor(life));
    } catch (error) {
      return this.#end(life, messageOf(error));
    }
    // What the agent before had written when it was killed, and did not know to be on the disk.
    for (const { action, outcome } of journal.pendingReports()) this.#isJournalled(action, outcome);
    const transport = createServerTransport({
      ...{ clock, authority: 'server:42113', workerId: this.#server.workerId },
      openChannel: () => this.#network.channelFor(life),
    });
    const runtime = createContainerRuntime(this.#engine.engineFor(life), 'unix:///var/run/docker.sock', {
      ...{ clock, workDirectory: this.#options.workDirectory, registry: 'registry.test' },
      credentials: [{ host: 'registry.test', username: 'user', password: registryPassword }],
      ...{ pullAttempts: 3, pullTimeoutSeconds: 1800, pullStallSeconds: 300 },
      redact: redactor.redact,
      redactParts: redactor.redactParts,
      onEvent: createRuntimeLog(log, { output: true, clock }),
    });
    const { interrupted, finish, pollSeconds, maxBackoffSeconds } = this.#settings;
    const dependencies = {
      ...{ transport, runtime, log, redactor, clock, interrupted, finish, pollSeconds, maxBackoffSeconds },
      journal: this.#watchJournal(journal, life),
      power: this.#powerOf(life, journal),
    };
    try {
      await runAgent(dependencies, life.stop.signal);
      if (!life.stop.signal.aborted) this.#violate(4, 'the agent has ended by itself');
    } catch (error) {
      this.#violate(4, `the agent has ended by itself: ${error instanceof Error ? error.stack : String(error)}`);
    }
    this.#end(life, 'stopped');
  }

  /** What starts programs starts it again. */
  #end(life: Life, why: string): void {
    if (!life.isAlive) return;
    this.#tell(`the agent ends: ${why}`);
    life.die();
    this.#clock.schedule(5, () => void this.#startAgent());
  }

  #watchJournal(journal: Journal, life: Life): Journal {
    return {
      started: async (action, at) => {
        if (life.isAlive) {
          this.#current = this.#actions.get(action.name);
          this.#chance.scope = action.name;
        }
        await journal.started(action, at);
      },
      stopping: (action) => journal.stopping(action),
      ended: async (action, outcome) => {
        await journal.ended(action, outcome);
        if (life.isAlive) this.#isJournalled(action, outcome);
      },
      acknowledged: (action, isDone) => journal.acknowledged(action, isDone),
      forget: (workflowId) => journal.forget(workflowId),
      compact: (workflowId) => journal.compact(workflowId),
      clearPowerAction: () => journal.clearPowerAction(),
      pendingReports: () => journal.pendingReports(),
      stateOf: (action) => journal.stateOf(action),
      powerActionPending: () => journal.powerActionPending(),
      [Symbol.asyncDispose]: () => journal[Symbol.asyncDispose](),
    };
  }

  #isJournalled({ name }: Action, outcome: Outcome): void {
    const facts = this.#actions.get(name);
    if (facts === undefined) return;
    this.#tell(`the journal has ${outcome.verdict} of ${name}`);
    facts.journalled = outcome;
    if (this.#current === facts) this.#current = undefined;
  }

  #powerOf(life: Life, journal: Journal): Power {
    return {
      rebootRequested: async () => false,
      finish: async () => {
        if (!life.isAlive) return await new Promise(() => {});
        this.#tell('the agent reboots the machine');
        this.#reboots += 1;
        this.#count('reboots');
        if (journal.pendingReports().length > 0)
          this.#violate(3, 'the machine reboots with results that the server has not acknowledged');
        const running = [...this.#workflows.values()].find(
          ({ isRunning, isDeleted, isStale }) => isRunning && !isDeleted && !isStale,
        );
        if (running !== undefined) this.#violate(3, `the machine reboots while ${running.name} runs`);
        if (this.#reboots > this.#successes)
          this.#violate(3, `${this.#reboots} reboots after ${this.#successes} workflows that succeeded`);
        this.#disk.syncAll();
        life.die();
        this.#engine.clear();
        this.#clock.schedule(90, () => void this.#startAgent());
        return await new Promise(() => {});
      },
    };
  }

  #courseOf({ environment }: ContainerSpec) {
    const facts = this.#actionOf(environment);
    const { seconds, exitCode, name } = facts;
    return { seconds, exitCode, lines: [`${name} works`, `last words of ${name}: ${CANARY}${name}`] };
  }

  #actionOf(environment: readonly string[]): ActionFacts {
    const name = environment.find((entry) => entry.startsWith('ACTION='))?.slice('ACTION='.length) ?? '';
    const facts = this.#actions.get(name);
    if (facts === undefined) throw new Error(`the container of no action: ${environment.join()}`);
    return facts;
  }

  #onStart(container: SimulatedContainer): void {
    this.#count('containers');
    const action = this.#actionOf(container.spec.environment);
    action.starts += 1;
    this.#tell(`a container of ${action.name} starts`);
    const others = this.#engine
      .running()
      .filter((other) => other !== container && this.#actionOf(other.spec.environment) === action);
    checkStart(action, others, this.#settings.interrupted, this.#violate);
  }

  #onExit({ spec, state, wasKilled }: SimulatedContainer): void {
    if (state.status !== 'exited') return;
    const action = this.#actionOf(spec.environment);
    this.#tell(`the container of ${action.name} ${wasKilled ? 'is killed' : `exits with ${state.exitCode}`}`);
    action.exits.push({ exitCode: state.exitCode, wasKilled });
  }

  #onRecord(workflow: WorkflowRecord, event: EventRecord): void {
    this.#count('records');
    const facts = this.#workflows.get(workflow.id);
    if (facts === undefined) return;
    this.#tell(`the server records ${event.progress} of ${event.actionName}`);
    const { dialect } = this.#options;
    const hadEnded = facts.ended;
    checkRecord(facts, event, dialect !== 'v0.7' && dialect !== 'v0.9', this.#violate);
    const isLast = event.actionName === facts.actions.at(-1)?.name && event.progress === 'SUCCESS';
    if (hadEnded === undefined && isLast) this.#successes += 1;
  }

  /** The first servers die of what comes late or after a workflow was deleted. */
  #onPanic(why: string): void {
    this.#tell(`the server dies: ${why}`);
    if (this.#clock.monotonicSeconds() > this.#mayPanicUntil) this.#violate(3, `the server dies of a report: ${why}`);
    this.#server.stop();
    this.#clock.schedule(60, () => this.#server.start());
  }

  #onStale(): void {
    this.#mayPanicUntil = this.#clock.monotonicSeconds() + staleSeconds;
    for (const workflow of this.#workflows.values()) workflow.isStale = true;
  }

  #onRequest(name: string): void {
    this.#count('requests');
    const second = Math.floor(this.#clock.monotonicSeconds());
    if (this.#requests.second !== second) this.#requests = { second, count: 0 };
    this.#requests.count += 1;
    if (this.#requests.count > 100) this.#violate(4, `more than 100 requests in a second, the last ${name}`);
  }

  #onLog(life: Life, line: string): void {
    if (!life.isAlive) return;
    const text = line.trimEnd().replace(/^\S+ \w+ +/, '');
    if (text.includes(CANARY)) this.#violate(6, `the log has a secret: ${text}`);
    this.#tell(`  log: ${text}`);
    if (text.includes('the agent failed')) this.#violate(4, text);
    if (/\bcould .* again after \d+ s, at attempt/.test(text)) this.#lastTrouble = undefined;
    if (!text.endsWith('; trying again') || !/\bcannot (ask|report|record|compact|forget) /.test(text)) return;
    if (text === this.#lastTrouble) this.#violate(4, `logged twice: ${text}`);
    this.#lastTrouble = text;
  }
}

/**
 * A current server stores a stale start of an action after the end of its workflow, shows that as
 * running, and then has no action to give: all of the agent's have ended.
 */
function isStuck({ isStale, actions }: WorkflowFacts): boolean {
  const verdicts = actions.map(({ journalled }) => journalled?.verdict);
  const hasFailed = verdicts.some((verdict) => verdict === 'FAILED' || verdict === 'TIMEOUT');
  return isStale && (hasFailed || verdicts.every((verdict) => verdict === 'SUCCESS'));
}

function templateOf(name: string, actions: readonly ActionFacts[]): string {
  return JSON.stringify({
    version: '0.1',
    name,
    global_timeout: 1_000_000,
    tasks: [
      {
        name: 'task',
        worker: '{{.one}}',
        actions: actions.map(({ name, timeoutSeconds }) => ({
          name,
          image: 'busybox',
          timeout: timeoutSeconds,
          command: ['work'],
          environment: { ACTION: name, PASSWORD: `${CANARY}${name}` },
        })),
      },
    ],
  });
}
