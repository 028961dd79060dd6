import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { LoopEvent } from '../action/observe.ts';
import type { RuntimeEvent } from '../runtime/event.ts';
import { addMachineMetrics } from './machine-metrics.ts';

export interface MetricsOptions {
  /** Of the program: version, commit, and what else tells one build from another. */
  readonly build: Readonly<Record<string, string>>;
  /** The generation of the server's protocol, once it is known. */
  readonly dialect: () => string | undefined;
}

/** Counts what the loop and the runtime tell. */
export interface Metrics {
  observe(event: LoopEvent): void;
  observeRuntime(event: RuntimeEvent): void;
  /** The text format of Prometheus. */
  text(): Promise<string>;
  readonly contentType: string;
}

/** Makes metrics that start at zero. */
export function createMetrics({ build, dialect }: MetricsOptions): Metrics {
  const registers = [new Registry()] as const;
  const [registry] = registers;
  const buildInfo = { name: 'nibs_build_info', help: 'Which build this is; always 1.', labelNames: Object.keys(build) };
  new Gauge({ ...buildInfo, registers: [...registers] }).set({ ...build }, 1);
  new Gauge({
    name: 'nibs_dialect_info',
    help: 'The generation of the protocol that the server speaks; 1 once it is known.',
    labelNames: ['dialect'],
    registers: [...registers],
    collect() {
      this.reset();
      const known = dialect();
      if (known !== undefined) this.set({ dialect: known }, 1);
    },
  });
  new Gauge({
    name: 'nibs_resident_memory_bytes',
    help: 'Memory of the agent.',
    registers: [...registers],
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  addMachineMetrics(registry);
  const polls = new Counter({
    name: 'nibs_polls_total',
    help: 'Answered questions for work, by answer (action, idle).',
    labelNames: ['answer'],
    registers: [...registers],
  });
  const actions = new Counter({
    name: 'nibs_actions_total',
    help: 'Actions that ended, by verdict.',
    labelNames: ['verdict'],
    registers: [...registers],
  });
  const duration = new Histogram({
    name: 'nibs_action_duration_seconds',
    help: 'From the start of an action to its end, with its pull.',
    buckets: [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600],
    registers: [...registers],
  });
  const pulledBytes = new Counter({
    name: 'nibs_pull_bytes_total',
    help: 'Bytes of image layers that were downloaded.',
    registers: [...registers],
  });
  const reportLatency = new Histogram({
    name: 'nibs_report_latency_seconds',
    help: "From the end of an action to the server's acknowledgement.",
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10, 60, 600],
    registers: [...registers],
  });
  const errors = new Counter({
    name: 'nibs_errors_total',
    help: 'Actions that failed, and troubles with server or engine, once per reason.',
    registers: [...registers],
  });
  const lastError = new Gauge({
    name: 'nibs_last_error_timestamp_seconds',
    help: 'When the last of those was; 0 if never.',
    registers: [...registers],
  });
  /** Of the pull that is going on. */
  let downloadedBytes = 0;

  function fail(): void {
    errors.inc();
    lastError.setToCurrentTime();
  }

  return {
    observe(event) {
      switch (event.kind) {
        case 'asked':
          return polls.inc({ answer: event.answer });
        case 'begun':
          return;
        case 'ended':
          actions.inc({ verdict: event.verdict });
          duration.observe(event.seconds);
          if (event.verdict !== 'SUCCESS') fail();
          return;
        case 'acknowledged':
          return reportLatency.observe(event.seconds);
        case 'trouble':
          return fail();
      }
    },
    observeRuntime(event) {
      if (event.kind === 'pulling') downloadedBytes = 0;
      if (event.kind === 'engine' && !event.reachable) fail();
      if (event.kind !== 'pull-progress') return;
      // A pull that is tried again starts over.
      if (event.doneBytes > downloadedBytes) pulledBytes.inc(event.doneBytes - downloadedBytes);
      downloadedBytes = event.doneBytes;
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
