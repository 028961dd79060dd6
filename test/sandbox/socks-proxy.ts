import { once } from 'node:events';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { startDaemon } from './daemon.ts';
import { loopbackAddress } from './loopback-address.ts';

/** A real SOCKS 5 proxy (Debian's microsocks). */
export interface SocksProxy extends AsyncDisposable {
  /** `127.x.y.z:11080` */
  readonly host: string;
  /** What it has connected to, `host:port` as a client named it. */
  targets(): Promise<string[]>;
}

const port = 11080;

/** @param credentials user and password that a client must give. Default: none are asked for. */
export async function startSocksProxy(credentials?: {
  readonly user: string;
  readonly password: string;
}): Promise<SocksProxy> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-socks-'));
  const address = loopbackAddress();
  const logPath = join(directory, 'microsocks.log');
  const account = credentials === undefined ? [] : ['-u', credentials.user, '-P', credentials.password];
  const daemon = await startDaemon({
    program: 'microsocks',
    parameters: ['-i', address, '-p', String(port), ...account],
    logPath,
    ask: async () => {
      const socket = connect(port, address);
      await once(socket, 'connect');
      socket.destroy();
    },
  });
  return {
    host: `${address}:${port}`,
    async targets() {
      const log = await readFile(logPath, 'utf8');
      return [...log.matchAll(/connected to (\S+)/g)].map(([, target = '']) => target);
    },
    async [Symbol.asyncDispose]() {
      await daemon.end();
      await rm(directory, { recursive: true });
    },
  };
}
