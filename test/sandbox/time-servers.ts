/**
 * time-servers.ts SERVERS…: a program that answers at addresses of its network namespace as time
 * servers and web servers do, each with a time of its own. Prints `ready` when all of them do. A
 * server is written as KIND,ADDRESS,PORT,SECONDS:
 * - `ntp`: SNTP over UDP (RFC 4330), in the version of the request, stratum 2;
 * - `http`, `https`: whatever is asked for is refused (401), with the time as `Date` header. The
 *   certificate is self-signed, and the client may be as old in its ways as busybox's (TLS 1.2
 *   without signature algorithms, which Go 1.24 and older takes).
 * - `endless`: as `http`, with a body that has no end;
 * - `misdated`: as `http`, with other text around the time.
 * SECONDS: since 1970.
 */
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, type RequestListener } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer as createSocketServer } from 'node:net';
import type { TlsOptions } from 'node:tls';
import { createCertificateAuthority } from './certificates.ts';

/** Seconds from 1900, where NTP's time begins, to 1970. */
const ntpOffset = 2_208_988_800;

const servers = process.argv.slice(2).map((server) => {
  const [kind = '', address = '', port = '', seconds = ''] = server.split(',');
  return start(kind, address, Number(port), Number(seconds));
});
await Promise.all(servers);
process.stdout.write('ready\n');

async function start(kind: string, address: string, port: number, seconds: number): Promise<void> {
  if (kind === 'ntp') return await startNtp(address, port, seconds);
  if (kind === 'endless') return await startEndless(address, port, seconds);
  const refuse: RequestListener = (_request, response) => {
    response.sendDate = false;
    const date = new Date(seconds * 1000).toUTCString();
    response.writeHead(401, { date: kind === 'misdated' ? `${date}; $(reboot) GMT` : date });
    response.end('authentication required\n');
  };
  const server = kind === 'https' ? createTlsServer(await identityOf(address), refuse) : createServer(refuse);
  server.listen(port, address);
  await once(server, 'listening');
}

/** A body for a HEAD request, from a server that does not keep to the protocol. */
async function startEndless(address: string, port: number, seconds: number): Promise<void> {
  const lines = Buffer.alloc(1024 ** 2, `${'x'.repeat(63)}\n`);
  const server = createSocketServer((socket) => {
    const send = () => {
      while (socket.writable && socket.write(lines));
    };
    socket.on('error', () => {}).on('drain', send);
    socket.write(`HTTP/1.0 200 OK\r\nDate: ${new Date(seconds * 1000).toUTCString()}\r\n\r\n`);
    send();
  });
  server.listen(port, address);
  await once(server, 'listening');
}

async function identityOf(address: string): Promise<TlsOptions> {
  const { certificate, key } = await (await createCertificateAuthority()).issue([address]);
  return { cert: certificate, key, ciphers: 'DEFAULT@SECLEVEL=0' };
}

async function startNtp(address: string, port: number, seconds: number): Promise<void> {
  const socket = createSocket('udp4');
  socket.on('message', (question, { address: client, port: clientPort }) => {
    const answer = Buffer.alloc(48);
    answer.writeUInt8((question.readUInt8(0) & 0b0011_1000) | 4, 0);
    answer.writeUInt8(2, 1);
    answer.write('LOCL', 12, 'latin1');
    question.copy(answer, 24, 40, 48);
    for (const offset of [16, 32, 40]) answer.writeUInt32BE(seconds + ntpOffset, offset);
    socket.send(answer, clientPort, client);
  });
  socket.bind(port, address);
  await once(socket, 'listening');
}
