import type { Clock } from '../clock/clock.ts';
import { createInventory, takeInventory } from './hardware/hardware.ts';
import type { Journal } from './journal.ts';
import type { Log } from './log/log.ts';
import type { Redactor } from './log/redact.ts';
import { workflowDirectory } from './runtime/workflow-directory.ts';
import { ConfigError, type NatsConfig, type ServerConfig } from './settings/config.ts';
import { proxyRulesFrom } from './settings/proxies.ts';
import { readTlsFiles } from './settings/tls-files.ts';
import type { Transport } from './transport/transport.ts';

export interface TransportDependencies {
  readonly clock: Clock;
  readonly log: Log;
  readonly redactor: Redactor;
  readonly journal: Journal;
  /** Called with the server's protocol version when it is detected. */
  readonly onDialect: (dialect: string) => void;
}

/**
 * Creates the transport to the server that the configuration names. Loads only the client of its
 * protocol.
 *
 * @throws {ConfigError} a certificate file cannot be used, or a NATS subject would be malformed
 */
export async function createTransport(
  config: ServerConfig | NatsConfig,
  dependencies: TransportDependencies,
): Promise<Transport> {
  switch (config.transport) {
    case 'grpc':
      return await createGrpcTransport(config, dependencies);
    case 'nats':
      return await createNatsTransport(config, dependencies);
  }
}

async function createGrpcTransport(
  config: ServerConfig,
  { clock, log, onDialect }: TransportDependencies,
): Promise<Transport> {
  const { createServerTransport } = await import('./transport/grpc/server.ts');
  return createServerTransport({
    clock,
    authority: config.grpcAuthority,
    workerId: config.workerId,
    dialect: config.dialect,
    certificateUrl: config.certUrl,
    ...(await readTlsFiles(config)),
    proxy: proxyRulesFrom(config),
    tls: config.tls,
    verify: !config.insecureTls,
    onDialect,
    attributes: config.attributeDetection ? createInventory(() => takeInventory('/', clock)) : undefined,
    workflowData: {
      directory: (workflowId) => workflowDirectory(config.workDirectory, workflowId),
      notice: (text) => log.warn(text),
    },
  });
}

async function createNatsTransport(
  config: NatsConfig,
  { clock, log, redactor, journal }: TransportDependencies,
): Promise<Transport> {
  const { NatsOptionsError, openNats } = await import('./transport/nats/nats.ts');
  try {
    return openNats({
      clock,
      server: config.natsServer.url.reveal(),
      tls: { required: config.tls === true, verify: !config.insecureTls, ...(await readTlsFiles(config)) },
      stream: config.natsStream,
      actionsSubject: config.natsActions,
      eventsSubject: config.natsEvents,
      workerId: config.workerId,
      redact: redactor.redact,
      onWarning: (message) => log.warn(message),
      onState: (state) => log.info(`${state} ${state === 'connected' ? 'to' : 'from'} the NATS server`),
      powerActionPending: () => journal.powerActionPending(),
    });
  } catch (error) {
    if (error instanceof NatsOptionsError) throw new ConfigError(error.message, { cause: error });
    throw error;
  }
}
