import { hostname } from 'node:os';
import type { Writable } from 'node:stream';
import type { Clock } from '../clock/clock.ts';
import { reasonOf } from '../errors/reason.ts';
import { splitAuthority } from '../net/authority.ts';
import type { LoopEvent } from './action/observe.ts';
import { createLineWriter } from './log/line-writer.ts';
import { createLog, type Log, logFields } from './log/log.ts';
import type { Redactor } from './log/redact.ts';
import { createRuntimeLog } from './log/runtime-log.ts';
import type { RuntimeEvent } from './runtime/event.ts';
import { serverOf } from './settings/config.ts';
import type { Config } from './settings/settings.ts';
import { createStatusBoard, type StatusBoard } from './status/board.ts';
import type { Metrics } from './status/metrics.ts';
import { usedMemoryBytes } from './status/used-memory.ts';
import { createSpaceWatch } from './storage.ts';
import type { Syslog } from './syslog/syslog.ts';

/** Which build of the program this is. */
export interface Build {
  readonly version: string;
  /** Short git commit. */
  readonly commit: string;
  /** Version of Node. */
  readonly node: string;
}

/** Shows what the agent does: log, syslog server, status pages, console view. */
export interface Telemetry extends AsyncDisposable {
  readonly log: Log;
  observe(event: LoopEvent): void;
  /** A line of output may return a promise: the back-pressure of the log's reader. */
  onRuntimeEvent(event: RuntimeEvent): void | Promise<void>;
  /** The server's protocol version was detected, or has changed. */
  onDialect(dialect: string): void;
}

export interface TelemetryOptions {
  readonly build: Build;
  readonly clock: Clock;
  readonly format: 'text' | 'json';
  readonly redactor: Redactor;
  /** Takes the log. It is not closed. */
  readonly stream: Writable;
}

/** Starts what is configured. Never fails: what cannot be started is logged as a warning. */
export async function startTelemetry(given: Config, options: TelemetryOptions): Promise<Telemetry> {
  const { build, clock, format, redactor, stream } = options;
  const config = given.transport === 'file' ? { ...given, ...logOnly } : given;
  await using opened = new AsyncDisposableStack();
  const writer = opened.use(
    createLineWriter(stream, {
      clock,
      onDropped: (count) => log.warn(`${count} log lines dropped: the reader was too slow`),
    }),
  );
  const syslog = await openSyslog(config, clock, (reachable, message) => log[reachable ? 'info' : 'warn'](message));
  const log: Log = createLog({
    clock,
    level: config.logLevel,
    format,
    redactor,
    write: (line) => writer.write(line),
    forward: syslog && ((line) => syslog.write(line)),
  });
  if (syslog !== undefined) opened.use(syslog);

  let dialect: string | undefined;
  const { createMetrics } = await import('./status/metrics.ts');
  const metrics = createMetrics({ build: { ...build }, dialect: () => dialect });
  const board = createStatusBoard({
    clock,
    machine: config.workerId ?? 'unknown',
    hostName: hostname(),
    server: serverOf(config),
    version: build.version,
    dialect: () => dialect,
    redact: redactor.redact,
  });
  const server = await openStatusServer(config, board, metrics, redactor, log);
  if (server !== undefined) opened.use(server);
  if (config.consoleView !== 'off') {
    const { openConsoleView } = await import('./status/console-view.ts');
    const onTrouble = (message: string) => log.warn(message);
    opened.use(await openConsoleView({ console: config.consoleView, clock, board, onTrouble }));
  }

  const runtimeLog = createRuntimeLog(log, { clock, output: config.captureActionLogs });
  const watchSpace = createSpaceWatch(config.engineStorage ?? `/var/lib/${config.runtime}`, (action, message) =>
    log.warn(logFields(action), message),
  );
  const logUsedMemory = createUsedMemoryLog(log);
  const closing = opened.move();
  return {
    log,
    observe(event) {
      logUsedMemory(event);
      metrics.observe(event);
      board.observe(event);
    },
    onRuntimeEvent(event) {
      metrics.observeRuntime(event);
      board.observeRuntime(event);
      watchSpace(event);
      void runtimeLog(event);
      return event.kind === 'output' ? writer.ready() : undefined;
    },
    onDialect(found) {
      if (found !== dialect) log.info(`the server speaks the dialect ${found}`);
      dialect = found;
    },
    [Symbol.asyncDispose]: () => closing.disposeAsync(),
  };
}

/** A template is tried locally: nothing is sent to the site's servers. */
const logOnly = { syslogHost: undefined, statusAddress: 'off', consoleView: 'off' } as const;

/**
 * Logs, at the server's first answer, how much memory boot image, engine and agent take: a machine
 * whose system lives in memory has only the rest for images.
 */
function createUsedMemoryLog(log: Log): (event: LoopEvent) => void {
  let isLogged = false;
  return ({ kind }) => {
    if (kind !== 'asked' || isLogged) return;
    isLogged = true;
    void usedMemoryBytes().then((bytes) => {
      const memoryUsedKiB = bytes === undefined ? undefined : bytes / 1024;
      log.info({ memoryUsedKiB }, 'the server answers');
    });
  };
}

async function openSyslog(
  { syslogHost, syslogPort, syslogProtocol, syslogFormat, workerId }: Config,
  clock: Clock,
  onChange: (reachable: boolean, message: string) => void,
): Promise<Syslog | undefined> {
  if (syslogHost === undefined) return undefined;
  const { startSyslog } = await import('./syslog/syslog.ts');
  // A boot image may have no host name. Ours is named nibs where DHCP names none.
  const named = hostname();
  const hostName = ['', '(none)', 'localhost', 'nibs'].includes(named) ? (workerId ?? '-') : named;
  const sender = { hostName, programName: 'tink-agent', processId: process.pid };
  const { host, port = syslogPort } = syslogHost;
  return startSyslog({ clock, host, port, protocol: syslogProtocol, format: syslogFormat, sender, onChange });
}

async function openStatusServer(
  { statusAddress }: Config,
  board: StatusBoard,
  metrics: Metrics,
  { redact }: Redactor,
  log: Log,
): Promise<AsyncDisposable | undefined> {
  if (statusAddress === 'off') return undefined;
  const { host, port = 0 } = splitAuthority(statusAddress);
  const { startStatusServer } = await import('./status/server.ts');
  try {
    const server = await startStatusServer({
      host,
      port,
      board,
      metrics,
      redact,
    });
    log.debug(`/healthz, /metrics and /status are served on port ${server.port} of ${host}`);
    return server;
  } catch (error) {
    log.warn(
      `cannot serve /status at ${statusAddress}: ${reasonOf(error)} (choose another address with --status-address)`,
    );
    return undefined;
  }
}
