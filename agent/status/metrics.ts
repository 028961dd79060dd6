import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { LoopEvent } from '../action/observe.ts';
import type { RuntimeEvent } from '../runtime/event.ts';
import { addMachineMetrics } from './machine-metrics.ts';

export interface MetricsOptions {
  /** Labels of the build: version, commit, Node. */
  readonly build: Readonly<Record<string, string>>;
  /** Protocol version of the server, once it is detected. */
  readonly dialect: () => string | undefined;
}

/** Counts events of the loop and of the runtime. */
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
  const buildInfo = { name: 'nibs_build_info', help: 'Build of the agent; always 1.', labelNames: Object.keys(build) };
  new Gauge({ ...buildInfo, registers: [...registers] }).set({ ...build }, 1);
  new Gauge({
    name: 'nibs_dialect_info',
    help: 'Protocol version of the server; 1 once it is detected.',
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
    help: 'Resident memory of the agent.',
    registers: [...registers],
    collect() {
      this.set(process.memoryUsage.rss());
    },
  });
  addMachineMetrics(registry);
  const polls = new Counter({
    name: 'nibs_polls_total',
    help: 'Answered polls, by answer (action, idle).',
    labelNames: ['answer'],
    registers: [...registers],
  });
  const actions = new Counter({
    name: 'nibs_actions_total',
    help: 'Actions that ended, by result.',
    labelNames: ['verdict'],
    registers: [...registers],
  });
  const duration = new Histogram({
    name: 'nibs_action_duration_seconds',
    help: 'Duration of an action, including the pull.',
    buckets: [0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600],
    registers: [...registers],
  });
  const pulledBytes = new Counter({
    name: 'nibs_pull_bytes_total',
    help: 'Downloaded bytes of image layers.',
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
    help: 'Failed actions, and failures of server or engine, once per reason.',
    registers: [...registers],
  });
  const lastError = new Gauge({
    name: 'nibs_last_error_timestamp_seconds',
    help: 'Time of the last error; 0 if there was none.',
    registers: [...registers],
  });
  /** Of the current pull. */
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
      // A retried pull starts from zero.
      if (event.doneBytes > downloadedBytes) pulledBytes.inc(event.doneBytes - downloadedBytes);
      downloadedBytes = event.doneBytes;
    },
    text: () => registry.metrics(),
    contentType: registry.contentType,
  };
}
