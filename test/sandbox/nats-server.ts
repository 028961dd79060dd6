import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Daemon, startDaemon } from './daemon.ts';
import { loopbackAddress } from './loopback-address.ts';

/** A running NATS server (Debian's nats-server), without JetStream. */
export interface NatsServer extends AsyncDisposable {
  /** `address:port`. */
  readonly host: string;
  /** Takes the server off the network. */
  stop(): Promise<void>;
  /** Starts it again after {@link stop}, on the same port. */
  start(): Promise<void>;
}

/** Not 4222: installing the package may start a server there, on all addresses. */
const PORT = 14222;

/**
 * Starts a server on an address of its own and waits until it answers.
 * @param configuration Further lines of its configuration file. Default: everybody may do
 *   everything.
 * @param address for a certificate that names it. Default: a free one.
 */
export async function startNatsServer(configuration = '', address = loopbackAddress()): Promise<NatsServer> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-nats-'));
  const file = join(directory, 'nats.conf');
  await writeFile(file, `listen: "${address}:${PORT}"\n${configuration}\n`);
  const begin = () =>
    startDaemon({
      program: 'nats-server',
      parameters: ['--config', file],
      logPath: join(directory, 'nats.log'),
      ask: () => greeting(address),
    });
  let daemon: Daemon | undefined = await begin();
  const stop = async () => {
    await daemon?.end();
    daemon = undefined;
  };
  return {
    host: `${address}:${PORT}`,
    stop,
    async start() {
      daemon = await begin();
    },
    async [Symbol.asyncDispose]() {
      await stop();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

/** The server speaks first. */
async function greeting(address: string): Promise<void> {
  const socket = connect(PORT, address);
  try {
    await once(socket, 'data');
  } finally {
    socket.destroy();
  }
}
