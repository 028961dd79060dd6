/** What peers send on connections: certificates, answers of proxies, the protocol of NATS. */
import { X509Certificate } from 'node:crypto';
import { createServer, type Socket } from 'node:net';
import { rootCertificates } from 'node:tls';
import { ZodError } from 'zod';
import { connectBounded } from '../../../agent/transport/nats/bounded-transport.ts';
import { parseCertificates } from '../../../net/pem.ts';
import { openTunnel } from '../../../net/tunnel.ts';
import { connectionOf } from '../connection.ts';
import { wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

const [certificate = ''] = rootCertificates;
const pemWords = ['X509 ', 'TRUSTED ', ''].flatMap((label) =>
  ['BEGIN', 'END'].map((which) => `-----${which} ${label}CERTIFICATE-----\n`),
);

export const certificatesTarget: Target = {
  name: 'certificates',
  seeds: [
    certificate,
    certificate.replaceAll(' CERTIFICATE', ' TRUSTED CERTIFICATE'),
    `text\r\n${certificate}${certificate.slice(0, 500)}`,
    // To search for the end of each from its beginning takes time by the square of it.
    '-----BEGIN CERTIFICATE-----'.repeat(20_000),
    '',
  ],
  words: pemWords,
  maxBytes: 512 * 1024,
  refusals: [Error],
  microsecondsPerByte: 1,
  check(input) {
    const found = parseCertificates(input.toString('latin1'));
    require(found.length > 0, () => 'no certificate');
    const again = parseCertificates(found.join(''));
    require(again.join('') === found.join(''), () => 'certificates read otherwise when they are written');
    for (const one of found) new X509Certificate(one);
  },
};

const proxyWords = [
  ...['HTTP/1.1 200 OK\r\n', 'HTTP/1.1 407 No\r\n', 'HTTP/1.0 200\n', '\r\n\r\n', 'Content-Length: 5\r\n'],
  ...[
    'Transfer-Encoding: chunked\r\n',
    '\x05\x00',
    '\x05\x02\x01\x00',
    '\x05\xff',
    '\x05\x00\x00\x01\x7f\0\0\x01\0\x50',
  ],
  ...['\x05\x00\x00\x03\x04name\0\x50', '\x05\x00\x00\x04', '\x05\x09'],
];

/** Answers to requests for a tunnel, by HTTP and SOCKS 5. */
export const proxyAnswersTarget: Target = {
  name: 'proxy-answers',
  seeds: [
    'HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\nserver',
    'HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno',
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n',
    Buffer.from('\x05\x00\x05\x00\x00\x01\x7f\0\0\x01\0\x50server', 'latin1'),
    Buffer.from('\x05\x02\x01\x00\x05\x00\x00\x03\x04name\0\x50server', 'latin1'),
    Buffer.from('\x05\x00\x05\x05\x00\x01', 'latin1'),
    '',
  ],
  generated: wordsOf(proxyWords, 6).map((text) => Buffer.from(text, 'latin1')),
  words: proxyWords,
  maxBytes: 32 * 1024,
  async check(input) {
    for (const proxy of ['http://u:p%40ss@proxy:3128', 'socks5://proxy:1080', 'socks5h://u:p@proxy']) {
      for (const target of ['server:443', '[fd00::1]:443']) {
        const socket = connectionOf(input) as Socket;
        socket.on('error', () => {});
        try {
          const tunnel = await openTunnel(socket, new URL(proxy), target);
          const rest: Buffer[] = [];
          for await (const chunk of tunnel) rest.push(chunk as Buffer);
          require(input.toString('latin1').endsWith(Buffer.concat(rest).toString('latin1')), () =>
            'what the server sent has changed');
        } catch (error) {
          const { message } = error as Error;
          require(message.startsWith('the proxy '), () => String((error as Error).stack));
          require(!/p@ss|p%40ss/.test(message), () => `the password is in: ${message}`);
        } finally {
          socket.destroy();
        }
      }
    }
  },
};

const info = 'INFO {"server_id":"x","version":"2.10.0","headers":true,"max_payload":1048576}\r\n';
const natsWords = [
  ...[
    info,
    'PING\r\n',
    'PONG\r\n',
    '+OK\r\n',
    "-ERR 'no'\r\n",
    'MSG a 1 5\r\nhello\r\n',
    'HMSG a 1 12 17\r\n',
    'INFO {',
  ],
  ...['NATS/1.0\r\n\r\n', '"tls_required":true', '"connect_urls":["a:1"]', '"nonce":"a"', '"__proto__":{}', 'MSG a 1 '],
];

/** One server for all inputs: it sends the one that is examined, and ends the connection. */
let natsServer: Promise<number> | undefined;
let natsInput: Buffer = Buffer.alloc(0);

function startNatsServer(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const server = createServer((socket) => {
    socket.on('error', () => {}).resume();
    socket.end(natsInput);
  });
  server.listen(0, '127.0.0.1', () => resolve((server.address() as { readonly port: number }).port));
  server.unref();
  return promise;
}

/** A server of messages, from its greeting on. */
export const natsServerTarget: Target = {
  name: 'nats-server',
  seeds: [
    `${info}PONG\r\nMSG actions 1 5\r\nhello\r\n`,
    `${info}PONG\r\n${info.replace('x', 'y')}HMSG actions 1 12 17\r\nNATS/1.0\r\n\r\nhello\r\n`,
    `${info}-ERR 'Authorization Violation'\r\n`,
    'INFO {"version":"2.10.0","max_payload":1,"tls_required":true}\r\n',
    'INFO {"version":5}\r\n',
    'SSH-2.0-OpenSSH\r\n',
  ],
  generated: wordsOf(natsWords, 8).map((text) => `${info}PONG\r\n${text}`),
  words: natsWords,
  maxBytes: 128 * 1024,
  // The library's parser is not one of the fastest.
  microsecondsPerByte: 50,
  async check(input) {
    natsServer ??= startNatsServer();
    const servers = `127.0.0.1:${await natsServer}`;
    natsInput = input;
    let connection: Awaited<ReturnType<typeof connectBounded>>;
    try {
      connection = await connectBounded({ servers, reconnect: false, timeout: 60_000 });
    } catch (error) {
      // An INFO that is no JSON or has other types; the caller reports it.
      const isOfLanguage = error instanceof TypeError || error instanceof RangeError || error instanceof ReferenceError;
      require(error instanceof ZodError || (error instanceof Error && !isOfLanguage), () =>
        `${(error as Error).stack ?? String(error)}`);
      return;
    }
    const subscription = connection.subscribe('actions');
    for await (const message of subscription)
      require(message.data.length <= input.length, () => `a message of ${message.data.length} bytes`);
    await connection.closed();
  },
};
