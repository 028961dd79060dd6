import type { Clock } from '../clock/clock.ts';
import { createInventory, takeInventory } from './hardware/hardware.ts';
import type { Journal } from './journal.ts';
import { knownCertificates } from './known-certificates.ts';
import type { Log } from './log/log.ts';
import type { Redactor } from './log/redact.ts';
import { workflowDirectory } from './runtime/workflow-directory.ts';
import { ConfigError, type NatsConfig, type ServerConfig } from './settings/config.ts';
import { proxyRulesFrom } from './settings/proxies.ts';
import { readTlsFiles } from './settings/tls-files.ts';
import type { securityFor } from './transport/grpc/server.ts';
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
  const { createServerTransport, securityFor } = await import('./transport/grpc/server.ts');
  const { grpcAuthority: authority } = config;
  const protection = {
    dialect: config.dialect,
    certificateUrl: config.certUrl,
    ...(await readTlsFiles(config)),
    tls: config.tls,
    verify: !config.insecureTls,
  };
  warnOfProtection(securityFor(protection), authority, log);
  return createServerTransport({
    clock,
    authority,
    workerId: config.workerId,
    ...protection,
    certificateMemory: knownCertificates(config.stateDirectory, authority),
    acceptChangedCertificate: config.certificateChange === 'accept',
    proxy: proxyRulesFrom(config),
    onDialect,
    attributes: config.attributeDetection ? createInventory(() => takeInventory('/', clock)) : undefined,
    workflowData: {
      directory: (workflowId) => workflowDirectory(config.workDirectory, workflowId),
      notice: (text) => log.warn(text),
    },
  });
}

const commanders = 'anyone in the network in between can run actions on this machine';

/** The server commands the machine, and so does anyone who can pretend to be the server. */
function warnOfProtection(security: ReturnType<typeof securityFor>, authority: string, log: Log): void {
  if (security === 'plaintext')
    log.warn(`the connection to ${authority} is not encrypted: ${commanders} (set tinkerbell_tls=true)`);
  if (security === 'unverified')
    log.warn(`the certificate of ${authority} is not verified: ${commanders} (remove tinkerbell_insecure_tls)`);
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
      onPlaintext: () => log.warn(`the connection to the NATS server is not encrypted: ${commanders} (use tls://)`),
      onState: (state) => log.info(`${state} ${state === 'connected' ? 'to' : 'from'} the NATS server`),
      powerActionPending: () => journal.powerActionPending(),
    });
  } catch (error) {
    if (error instanceof NatsOptionsError) throw new ConfigError(error.message, { cause: error });
    throw error;
  }
}
