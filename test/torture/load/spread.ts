/**
 * Part `spread`: how the requests of many workers are spread over time, in virtual time: on a
 * machine that is busy with them, real time would measure the machine. Real: the loop, the journal,
 * the transport down to the messages, the services of the fake server. Simulated: connections, the
 * disk of the journal, actions. The settings of the agent are its defaults.
 */
import { runAgent } from '../../../agent/agent.ts';
import { openJournal } from '../../../agent/journal.ts';
import { createLog } from '../../../agent/log/log.ts';
import { createRedactor } from '../../../agent/log/redact.ts';
import type { Runtime } from '../../../agent/runtime/runtime.ts';
import { createServerTransport } from '../../../agent/transport/grpc/server.ts';
import type { Clock } from '../../../clock/clock.ts';
import { templateOf } from '../../sandbox/tink-server/example.ts';
import type { EventRecord } from '../../sandbox/tink-server/records.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';
import { Chance } from '../chance.ts';
import { Disk } from '../disk.ts';
import { Life } from '../life.ts';
import { Network } from '../network.ts';
import { SimulatedServer } from '../server.ts';
import { reportsViolation } from './reports.ts';
import { type Request, type Return, returnOf, type Spread, spreadOf } from './requests.ts';

export interface SpreadOptions {
  readonly workers: number;
  readonly seed: number;
  /** How long the server is away, one time after another. */
  readonly outagesSeconds: readonly number[];
  readonly actions: number;
  /** Replaces chance in the waits of the agents. Default: the clock's, by the seed. */
  readonly random?: (() => number) | undefined;
}

export interface SpreadPhase extends Spread {
  readonly name: string;
  /** Of a phase that begins when the server is back. */
  readonly back?: Return | undefined;
}

export interface SpreadResult {
  readonly phases: readonly SpreadPhase[];
  readonly reports: number;
  readonly violations: readonly string[];
}

/** The defaults of the agent. */
const pollSeconds = 3;
const maxBackoffSeconds = 15;
/** A worker that was away comes back within the longest back-off, and then polls again. */
const phaseSeconds = 2 * maxBackoffSeconds;
/** What all workers do within a second after the start is spread after some polls. */
const settleSeconds = 60;
const actionSeconds = [1, 10] as const;
/** Without any report. */
const stallSeconds = 600;

export async function measureSpread(options: SpreadOptions): Promise<SpreadResult> {
  const { seed, outagesSeconds } = options;
  const clock = new VirtualClock({ seed });
  await using load = new Load(options, clock);
  const phases: SpreadPhase[] = [];
  const phase = async (name: string, isReturn: boolean) => {
    const from = clock.elapsedSeconds;
    await clock.wait(phaseSeconds);
    phases.push({ name, ...load.spread(from), back: isReturn ? returnOf(load.requests, from) : undefined });
  };
  load.start();
  await clock.wait(settleSeconds);
  await phase('idle', false);
  for (const seconds of outagesSeconds) {
    load.server.stop();
    await clock.wait(seconds);
    load.server.start();
    await phase(`back after ${seconds} s`, true);
  }
  const [outage = 5] = outagesSeconds;
  const from = clock.elapsedSeconds;
  const wrong = await load.work(outage);
  phases.push({ name: `work, away for ${outage} s amid it`, ...load.spread(from) });
  return { phases, reports: load.reports, violations: [...wrong, ...herdsOf(phases)] };
}

/**
 * A herd: after an outage the busiest second has more than three times the requests that the
 * busiest one has when all are idle, or a tenth of a second has more than a fifth of the workers.
 */
function herdsOf(phases: readonly SpreadPhase[]): readonly string[] {
  const idle = phases[0]?.max ?? 0;
  return phases.flatMap(({ name, max, back }) => {
    if (back === undefined) return [];
    const isHerd = max > 3 * idle || back.inTenth > back.workers / 5;
    return isHerd ? [`${name}: a herd: ${max} requests in a second, ${back.inTenth} workers in a tenth of one`] : [];
  });
}

class Load implements AsyncDisposable {
  readonly server: SimulatedServer;
  /** Those that reached the server. */
  readonly requests: Request[] = [];
  reports = 0;
  readonly #options: SpreadOptions;
  readonly #clock: VirtualClock;
  readonly #lives: Life[] = [];
  readonly #events = new Map<string, EventRecord[]>();
  #onReport: () => void = () => {};

  constructor(options: SpreadOptions, clock: VirtualClock) {
    this.#options = options;
    this.#clock = clock;
    this.server = new SimulatedServer({
      ...{ dialect: 'v0.9', clock },
      onEvent: ({ id }, event) => {
        this.#events.get(id)?.push(event);
        this.reports += 1;
        this.#onReport();
      },
      onPanic: (why) => {
        throw new Error(`the server died: ${why}`);
      },
    });
  }

  start(): void {
    for (const worker of this.#workers()) void this.#startAgent(worker);
  }

  spread(fromSeconds: number): Spread {
    return spreadOf(this.requests, fromSeconds, this.#clock.elapsedSeconds);
  }

  /**
   * Gives each worker a workflow, and lets the server be away when half of the reports are there.
   * @returns violations
   */
  async work(awaySeconds: number): Promise<readonly string[]> {
    const names = Array.from({ length: this.#options.actions }, (_, index) => `action-${index}`);
    const template = templateOf(['task', 'one', names]);
    for (const worker of this.#workers()) {
      const id = this.server.createWorkflow('load', template.replace('{{.one}}', worker));
      this.#events.set(id, []);
    }
    const total = this.#options.workers * names.length * 2;
    await this.#untilReports(Math.floor(total / 2));
    this.server.stop();
    await this.#clock.wait(awaySeconds);
    this.server.start();
    await this.#untilReports(total);
    // A report that came twice would still come.
    await this.#clock.wait(phaseSeconds);
    return [...this.#events].flatMap(([id, events]) => {
      const wrong = reportsViolation(events, names);
      return wrong === undefined ? [] : [`${id}: ${wrong}`];
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const life of this.#lives) life.die();
  }

  #workers(): readonly string[] {
    return macsOf(this.#options.workers);
  }

  /** Returns early if there is none for a long time. */
  async #untilReports(count: number): Promise<void> {
    if (this.reports >= count) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    using timer = this.#clock.schedule(stallSeconds, resolve);
    this.#onReport = () => {
      if (this.reports >= count) resolve();
      else timer.restart();
    };
    await promise;
    this.#onReport = () => {};
  }

  async #startAgent(worker: string): Promise<void> {
    const life = new Life(this.#clock);
    this.#lives.push(life);
    const { random = life.clock.random } = this.#options;
    const clock: Clock = { ...life.clock, random };
    const chance = new Chance(this.#options.seed, new Map());
    const common = { clock, chance, severity: 0, tell: () => {}, kill: () => {} };
    const network = new Network({
      ...{ ...common, server: this.server, onStale: () => {} },
      onRequest: () => {
        if (this.server.isUp) this.requests.push({ atSeconds: this.#clock.elapsedSeconds, worker });
      },
    });
    const redactor = createRedactor();
    const storage = new Disk({ ...common, onWrite: () => {} }).storageFor(life);
    const onDamage = (message: string) => {
      throw new Error(message);
    };
    const dependencies = {
      ...({ clock, redactor, pollSeconds, maxBackoffSeconds, interrupted: 'rerun', finish: 'none' } as const),
      log: createLog({ clock, level: 'fatal', format: 'text', redactor, write: () => {} }),
      journal: await openJournal('/state', onDamage, clock, storage),
      transport: createServerTransport({
        ...{ authority: 'server:42113', workerId: worker, tls: false },
        openChannel: () => ({ ...network.channelFor(life), clock }),
      }),
      runtime: runtimeOf(clock),
      power: { rebootRequested: async () => false, finish: () => Promise.reject(new Error('it stays up')) },
    };
    await runAgent(dependencies, life.stop.signal);
  }
}

/** Its actions take some time and succeed. */
function runtimeOf(clock: Clock): Runtime {
  const [min, max] = actionSeconds;
  return {
    run: async (_, signal) => {
      const startedAt = clock.now();
      await clock.wait(min + (max - min) * clock.random(), signal);
      return { verdict: 'SUCCESS', message: 'exit code 0', startedAt, endedAt: clock.now() };
    },
    resume: async () => undefined,
    discard: async () => {},
    release: async () => {},
  };
}

/** Names of workers: MAC addresses. */
export function macsOf(count: number): readonly string[] {
  return Array.from({ length: count }, (_, index) => {
    const hex = index.toString(16).padStart(4, '0');
    return `08:00:27:01:${hex.slice(0, 2)}:${hex.slice(2)}`;
  });
}
