import type { Clock } from '../../clock/clock.ts';
import { within } from '../../clock/within.ts';
import type { Config } from '../settings/settings.ts';
import { readTlsFiles } from '../settings/tls-files.ts';
import { Bus, parseAddress } from '../transport/nats/bus.ts';
import { type Finding, finding, findingOf } from './finding.ts';

const timeoutSeconds = 40;

/** Whether the NATS server takes the connection and the subscription of this worker. */
export async function checkNats(config: Config, clock: Clock, signal: AbortSignal): Promise<Finding[]> {
  const { natsServer, natsStream: stream, workerId } = config;
  if (natsServer === undefined || workerId === undefined)
    return [finding('server', 'unchecked', 'its address or the worker ID is missing')];
  const target = String(natsServer);
  const found: Finding[] = [];
  const problems: string[] = [];
  try {
    await using bus = new Bus({
      clock,
      address: parseAddress(natsServer.url.reveal()),
      tls: { required: config.tls === true, verify: !config.insecureTls, ...(await readTlsFiles(config)) },
      name: `${workerId} doctor`,
      listenOn: [stream, workerId, config.natsActions].join('.'),
      publishOn: [stream, workerId, config.natsEvents].join('.'),
      // A list that comes now reaches the agent too, if one is running.
      onMessage: () => {},
      onPlaintext: () =>
        found.push(
          finding('tls', 'warning', 'the connection is not encrypted', { target, advice: 'use tls:// if it has TLS' }),
        ),
      onProblem: (text) => problems.push(text),
      onState: () => {},
    });
    const limit = { seconds: timeoutSeconds, awaited: 'answer of the NATS server' };
    await within(clock, limit, signal, (limited) => bus.connect(limited));
    return [...found, finding('server', 'ok', 'it takes the subscription of this worker', { target })];
  } catch (error) {
    signal.throwIfAborted();
    const advice = problems[0] ?? 'check the address of the NATS server, its user and password, and the route to it';
    return [...found, findingOf('server', error, advice, target)];
  }
}
