import { hostname } from 'node:os';
import type { Writable } from 'node:stream';
import type { Clock } from '../clock/clock.ts';
import { version } from '../executable/version.ts';
import { splitAuthority } from '../net/authority.ts';
import type { LoopEvent } from './action/observe.ts';
import { createLineWriter } from './log/line-writer.ts';
import { createLog, factsOf, type Log } from './log/log.ts';
import type { Redactor } from './log/redact.ts';
import { createRuntimeLog } from './log/runtime-log.ts';
import type { RuntimeEvent } from './runtime/event.ts';
import { serverOf } from './settings/config.ts';
import type { Config } from './settings/settings.ts';
import { createStatusBoard, type StatusBoard } from './status/board.ts';
import type { Metrics } from './status/metrics.ts';
import { createSpaceWatch } from './storage.ts';
import type { Syslog } from './syslog/syslog.ts';

/** Where people learn what the agent does: its log, the syslog server, the pages of its status, the machine's screen. */
export interface Outlets extends AsyncDisposable {
  readonly log: Log;
  observe(event: LoopEvent): void;
  /** For a line of output may return a promise: whoever has many of them is to wait until the reader of the log has caught up. */
  onRuntimeEvent(event: RuntimeEvent): void | Promise<void>;
  /** The generation of the server's protocol is known, or has changed. */
  onDialect(dialect: string): void;
}

export interface OutletOptions {
  readonly clock: Clock;
  readonly format: 'text' | 'json';
  readonly redactor: Redactor;
  /** Takes the log. Stays the caller's. */
  readonly stream: Writable;
}

/** Opens the outlets that are configured. Never fails: one that cannot be opened is told to the others. */
export async function openOutlets(given: Config, { clock, format, redactor, stream }: OutletOptions): Promise<Outlets> {
  const config = given.transport === 'file' ? { ...given, ...onlyLog } : given;
  await using opened = new AsyncDisposableStack();
  const writer = opened.use(
    createLineWriter(stream, {
      clock,
      onLost: (count) => log.warn(`${count} lines of this log are missing here: nobody read it for a while`),
    }),
  );
  const syslog = await openSyslog(config, clock, (reachable, message) => log[reachable ? 'info' : 'warn'](message));
  const log: Log = createLog({
    clock,
    level: config.logLevel,
    format,
    redactor,
    write: writer.write,
    forward: syslog && ((line) => syslog.write(line)),
  });
  if (syslog !== undefined) opened.use(syslog);

  let dialect: string | undefined;
  const { createMetrics } = await import('./status/metrics.ts');
  const metrics = createMetrics({ build: version, dialect: () => dialect });
  const board = createStatusBoard({
    clock,
    machine: config.workerId ?? 'unknown',
    hostName: hostname(),
    server: serverOf(config),
    version: version.version,
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
    log.warn(factsOf(action), message),
  );
  const closing = opened.move();
  return {
    log,
    observe(event) {
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

/** Who tries a template on a bench is not a machine of the fleet. */
const onlyLog = { syslogHost: undefined, statusAddress: 'off', consoleView: 'off' } as const;

async function openSyslog(
  { syslogHost, syslogPort, syslogProtocol, syslogFormat, workerId }: Config,
  clock: Clock,
  onChange: (reachable: boolean, message: string) => void,
): Promise<Syslog | undefined> {
  if (syslogHost === undefined) return undefined;
  const { startSyslog } = await import('./syslog/syslog.ts');
  // A boot image may have no name of its own; ours is called nibs where DHCP gives it none.
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
    log.debug(`/healthz, /metrics and /status are at port ${server.port} of ${host}`);
    return server;
  } catch (error) {
    log.warn(
      `there is no status page at ${statusAddress}: ${(error as Error).message} (choose another address with --status-address)`,
    );
    return undefined;
  }
}
