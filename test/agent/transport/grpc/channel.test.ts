import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { type AddressInfo, connect, createServer as createSocketServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { pipeline } from 'node:stream';
import { before, describe, it, type TestContext } from 'node:test';
import { createServer as createTlsServer } from 'node:tls';
import { status } from '@grpc/grpc-js';
import { execa } from 'execa';
import { messageOf } from '../../../../agent/log/log.ts';
import { Channel, type ChannelOptions, RpcError } from '../../../../agent/transport/grpc/channel.ts';
import type { CertificateMemory } from '../../../../agent/transport/grpc/known-certificate.ts';
import { TransportError } from '../../../../agent/transport/transport.ts';
import { createProxyRules } from '../../../../net/proxy.ts';
import { WorkflowServiceDefinition } from '../../../../proto/tink.pb.ts';
import { createCertificateAuthority } from '../../../sandbox/certificates.ts';
import { type ConnectProxyOptions, startConnectProxy } from '../../../sandbox/connect-proxy.ts';
import {
  makeCertificate,
  type ServerCertificate,
  startTinkServer,
  type TinkServer,
} from '../../../sandbox/tink-server/server.ts';
import { VirtualClock } from '../../../sandbox/virtual-clock.ts';

const SERVICE = 'github.com.tinkerbell.tink.protos.workflow.WorkflowSvc';
const { getWorkflowActions, updateWorkflowData } = WorkflowServiceDefinition.methods;
const never = new AbortController().signal;

let usual: ServerCertificate;

before(async () => {
  usual = await makeCertificate(['127.0.0.1', 'localhost']);
});

async function serve(test: TestContext, certificate = usual): Promise<TinkServer> {
  const server = await startTinkServer({ address: '127.0.0.1', certificate });
  test.after(() => server.stop());
  return server;
}

function open(test: TestContext, server: TinkServer, options: Partial<ChannelOptions> = {}): Channel {
  const channel = new Channel({
    authority: server.authority,
    certificateUrl: server.certificateUrl,
    rpcTimeoutSeconds: 5,
    ...options,
  });
  test.after(() => channel[Symbol.asyncDispose]());
  return channel;
}

function openAny(test: TestContext, options: ChannelOptions): Channel {
  const channel = new Channel({ rpcTimeoutSeconds: 5, ...options });
  test.after(() => channel[Symbol.asyncDispose]());
  return channel;
}

/** Any call that a server answers. */
async function ask(channel: Channel): Promise<void> {
  const { actionList } = await channel.call(SERVICE, getWorkflowActions, { workflowId: 'any' }, never);
  assert.deepEqual(actionList, []);
}

/**
 * Answers every request in the same way.
 *
 * @returns its URL
 */
async function serveText(test: TestContext, code: number, body: string): Promise<string> {
  const http = createServer((_request, response) => response.writeHead(code).end(body)).listen(0, '127.0.0.1');
  test.after(() => http.close());
  await once(http, 'listening');
  return `http://127.0.0.1:${(http.address() as AddressInfo).port}/cert`;
}

async function selfSigned(): Promise<ServerCertificate> {
  const directory = await mkdtemp(path.join(tmpdir(), 'self-signed-'));
  try {
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-keyout', 'key', '-out', 'pem', '-days', '30'];
    const names = [
      '-subj',
      '/CN=tink',
      '-addext',
      'subjectAltName=IP:127.0.0.1',
      '-addext',
      'basicConstraints=CA:FALSE',
    ];
    await execa('openssl', [...request, ...names], { cwd: directory });
    const certificate = await readFile(path.join(directory, 'pem'), 'utf8');
    return { certificate, bundle: certificate, key: await readFile(path.join(directory, 'key'), 'utf8') };
  } finally {
    await rm(directory, { recursive: true });
  }
}

describe('a channel trusts', () => {
  it('a bundle of certificate and authority', async (test) => {
    await ask(open(test, await serve(test)));
  });

  it('a certificate that signed itself', async (test) => {
    await ask(open(test, await serve(test, await selfSigned())));
  });

  it('a certificate alone whose authority it does not know', async (test) => {
    await ask(open(test, await serve(test, { ...usual, bundle: usual.certificate })));
  });

  it('a server by its name', async (test) => {
    const server = await serve(test);
    await ask(open(test, server, { authority: server.authority.replace('127.0.0.1', 'localhost') }));
  });

  it('an authority given as text', async (test) => {
    const server = await serve(test);
    await ask(open(test, server, { certificateUrl: undefined, certificateAuthority: usual.bundle }));
  });

  it('the authorities of the machine by default', async (test) => {
    const server = await serve(test);
    const directory = await mkdtemp(path.join(tmpdir(), 'trusted-'));
    test.after(() => rm(directory, { recursive: true }));
    const file = path.join(directory, 'authorities.pem');
    await writeFile(file, usual.bundle);
    // OpenSSL looks there once in the life of a process.
    const ask = `
      import { Channel } from '${import.meta.resolve('../../../../agent/transport/grpc/channel.ts')}';
      import { WorkflowServiceDefinition } from '${import.meta.resolve('../../../../proto/tink.pb.ts')}';
      const { getWorkflowActions } = WorkflowServiceDefinition.methods;
      await using channel = new Channel({ authority: '${server.authority}', rpcTimeoutSeconds: 5 });
      const { actionList } = await channel.call('${SERVICE}', getWorkflowActions, { workflowId: 'any' }, new AbortController().signal);
      process.stdout.write(JSON.stringify(actionList));
    `;
    const run = async (env: NodeJS.ProcessEnv) =>
      await execa(process.execPath, ['--input-type=module', '--eval', ask], { env, reject: false });
    assert.equal((await run({ SSL_CERT_FILE: file })).stdout, '[]');
    assert.match((await run({})).stderr, /unable to verify|unable to get local issuer|self-signed/);
  });

  it('any certificate, if verification is turned off', async (test) => {
    const other = await makeCertificate(['elsewhere.example']);
    await ask(open(test, await serve(test, other), { certificateUrl: undefined, tls: 'unverified' }));
  });
});

describe('a channel says of a server', () => {
  const failureOf = async (channel: Channel): Promise<string> => {
    const failure = await ask(channel).then(
      () => assert.fail('it answers'),
      (error: unknown) => error,
    );
    assert.ok(failure instanceof RpcError);
    return messageOf(failure);
  };
  const authorityOf = (server: Server) => `127.0.0.1:${(server.address() as AddressInfo).port}`;
  const listen = async (test: TestContext, server: Server): Promise<string> => {
    test.after(() => server.close());
    await once(server.listen(0, '127.0.0.1'), 'listening');
    return authorityOf(server);
  };
  /** As it says it twice. */
  const twice = async (test: TestContext, options: ChannelOptions): Promise<string> => {
    const first = await failureOf(openAny(test, options));
    assert.equal(await failureOf(openAny(test, options)), first, 'the same failure has the same words');
    return first;
  };

  it('that speaks TLS what to set, when it is spoken to in plaintext', async (test) => {
    const server = await serve(test);
    const message = await twice(test, { authority: server.authority, tls: 'plaintext' });
    assert.match(message, /UNAVAILABLE: .*\(the server speaks TLS: set tinkerbell_tls=true\)$/);
  });

  it('that answers plaintext with an alert of TLS, as those in Go do', async (test) => {
    const server = createTlsServer({ cert: usual.certificate, key: usual.key, ALPNProtocols: ['h2'] });
    server.on('tlsClientError', () => undefined);
    const message = await twice(test, { authority: await listen(test, server), tls: 'plaintext' });
    assert.match(message, /\(the server speaks TLS: set tinkerbell_tls=true\)$/);
  });

  it('that speaks plaintext what to set, when it is spoken to in TLS', async (test) => {
    const server = await startTinkServer({ dialect: 'v0.9' });
    test.after(() => server.stop());
    const message = await twice(test, { authority: server.authority });
    assert.match(message, /UNAVAILABLE: .*\(the server does not speak TLS: set tinkerbell_tls=false\)$/);
  });

  for (const [what, tls] of [
    ['plaintext', 'plaintext'],
    ['TLS', 'verified'],
  ] as const) {
    it(`that closes every connection of ${what} nothing about TLS`, async (test) => {
      const authority = await listen(
        test,
        createSocketServer((socket) => socket.destroy()),
      );
      assert.match(await twice(test, { authority, tls }), /is the server running, and reachable/);
    });
  }

  it('that is silent the same every time', async (test) => {
    const server = createSocketServer();
    const sockets = new Set<Socket>();
    server.on('connection', (socket) => sockets.add(socket.on('error', () => undefined)));
    test.after(() => {
      for (const socket of sockets) socket.destroy();
    });
    const message = await twice(test, { authority: await listen(test, server), clock: new VirtualClock() });
    assert.match(message, /DEADLINE_EXCEEDED: no answer within 5 s \(the server or the network is too slow or down\)$/);
  });
});

describe('a channel does not trust', () => {
  const untrusted = (error: unknown) =>
    error instanceof RpcError &&
    error.code === status.UNAVAILABLE &&
    /check the certificate URL/.test(error.message) &&
    !messageOf(error).includes('Node.js');

  it('a certificate of another authority', async (test) => {
    const other = await createCertificateAuthority();
    const server = await serve(test, { ...usual, bundle: other.certificate });
    await assert.rejects(ask(open(test, server)), untrusted);
  });

  it('a certificate for another name', async (test) => {
    const server = await serve(test, await makeCertificate(['192.0.2.1', 'elsewhere.example']));
    await assert.rejects(ask(open(test, server)), untrusted);
  });

  it('a certificate for the name that stands in for an address', async (test) => {
    const server = await serve(test, await makeCertificate(['tinkerbell']));
    await assert.rejects(ask(open(test, server)), untrusted);
  });

  it('an expired certificate', async (test) => {
    const authority = await createCertificateAuthority();
    const day = 24 * 3600 * 1000;
    const dates = { validFrom: new Date(Date.now() - 2 * day), validUntil: new Date(Date.now() - day) };
    const leaf = await authority.issue(['127.0.0.1'], dates);
    const server = await serve(test, { ...leaf, bundle: authority.certificate });
    await assert.rejects(ask(open(test, server)), (error) => untrusted(error) && /clock/.test(String(error)));
  });

  it('a private authority without a certificate URL', async (test) => {
    await assert.rejects(ask(open(test, await serve(test), { certificateUrl: undefined })), untrusted);
  });
});

describe('the certificate', () => {
  /** The file of the state directory, without one. */
  function createMemory(): CertificateMemory & { pem: string | undefined } {
    return {
      place: '/state/server.pem',
      pem: undefined,
      async read() {
        return this.pem;
      },
      async write(pem) {
        this.pem = pem;
      },
    };
  }

  it('is kept from the first time, and another one is refused with both fingerprints', async (test) => {
    const server = await serve(test);
    const certificateMemory = createMemory();
    const channel = open(test, server, { certificateMemory });
    await ask(channel);
    assert.match(certificateMemory.pem ?? '', /BEGIN CERTIFICATE/);
    const [before, after] = [usual, await makeCertificate(['127.0.0.1'])];
    await server.changeCertificate(after);
    await assert.rejects(ask(channel), RpcError);
    const [was, is] = [before, after].map(({ bundle }) => new X509Certificate(bundle).fingerprint256);
    const refusal = new RegExp(
      `cannot trust the server's certificate from \\S+: it has changed: .* was ${was}.* and is now ${is}.*nibs_certificate_change=accept .*/state/server\\.pem`,
    );
    await assert.rejects(ask(channel), refusal);
    await assert.rejects(ask(open(test, server, { certificateMemory })), refusal, 'after a restart too');
    const accepting = open(test, server, { certificateMemory, acceptChangedCertificate: true });
    await ask(accepting);
    await ask(open(test, server, { certificateMemory }));
  });

  it('may be renewed by an authority that is known from the first time', async (test) => {
    const authority = await createCertificateAuthority();
    const issue = async () => {
      const leaf = await authority.issue(['127.0.0.1']);
      return { ...leaf, bundle: `${leaf.certificate}${authority.certificate}` };
    };
    const server = await serve(test, await issue());
    const channel = open(test, server, { certificateMemory: createMemory() });
    await ask(channel);
    await server.changeCertificate(await issue());
    await ask(channel).catch(() => undefined);
    await ask(channel);
  });

  it('is kept when only the place to fetch it from is gone', async (test) => {
    const server = await serve(test);
    const http = createServer((_request, response) => response.end(usual.bundle)).listen(0, '127.0.0.1');
    await once(http, 'listening');
    const url = `http://127.0.0.1:${(http.address() as AddressInfo).port}/cert`;
    const channel = open(test, server, { certificateUrl: url });
    await ask(channel);
    http.close();
    http.closeAllConnections();
    await server.stop();
    await assert.rejects(ask(channel), RpcError);
    await server.start();
    await ask(channel);
  });

  it('cannot be fetched: the error has the status', async (test) => {
    const certificateUrl = await serveText(test, 404, 'no such page');
    const channel = open(test, await serve(test), { certificateUrl });
    await assert.rejects(ask(channel), {
      name: 'TransportError',
      message: `cannot fetch the server's certificate from ${certificateUrl}: HTTP status 404 Not Found (check the certificate URL)`,
    });
  });

  it('cannot be fetched: the answer is no certificate', async (test) => {
    const server = await serve(test);
    for (const body of [
      '<html>',
      '',
      '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
      'x'.repeat(2 ** 21),
    ]) {
      const channel = open(test, server, { certificateUrl: await serveText(test, 200, body) });
      await assert.rejects(
        ask(channel),
        (error) => error instanceof TransportError && /cannot fetch/.test(error.message),
      );
    }
  });

  it('cannot be fetched: the connection is refused', async (test) => {
    const server = await serve(test);
    const { certificateUrl } = server;
    await server.stop();
    await assert.rejects(ask(open(test, server)), {
      name: 'TransportError',
      message: new RegExp(`^cannot fetch the server's certificate from ${certificateUrl}: connect ECONNREFUSED`),
    });
  });

  it('cannot be fetched: the answer never ends', async (test) => {
    const http = createServer((_request, response) => response.write('-----BEGIN')).listen(0, '127.0.0.1');
    test.after(() => http.close().closeAllConnections());
    await once(http, 'listening');
    const certificateUrl = `http://127.0.0.1:${(http.address() as AddressInfo).port}/`;
    const channel = open(test, await serve(test), { certificateUrl, clock: new VirtualClock() });
    await assert.rejects(ask(channel), /no response in time/);
  });
});

/** A tink server whose name only the proxy knows. */
const hidden = 'tinkerbell.example';

describe('a channel through a proxy', () => {
  async function openThrough(
    test: TestContext,
    { host = hidden, user = '', tls = 'verified', ...options }: ConnectProxyOptions & ThroughOptions = {},
  ) {
    const certificate = await makeCertificate([host]);
    const server = await startTinkServer({ address: '127.0.0.1', certificate, tls: tls !== 'plaintext' });
    test.after(() => server.stop());
    const proxy = await startConnectProxy({ hosts: { [host]: '127.0.0.1' }, ...options });
    test.after(() => proxy[Symbol.asyncDispose]());
    const authority = `${host}:${server.authority.split(':')[1]}`;
    const channel = open(test, server, {
      authority,
      certificateUrl: undefined,
      certificateAuthority: certificate.bundle,
      tls,
      proxy: createProxyRules({ httpsProxy: `${user}${proxy.host}`, httpProxy: '127.0.0.1:1' }),
    });
    return { channel, proxy, authority };
  }

  for (const tls of ['verified', 'plaintext'] as const) {
    it(`speaks with a server whose name it cannot resolve itself (${tls})`, async (test) => {
      const { channel, proxy, authority } = await openThrough(test, { tls });
      await ask(channel);
      assert.deepEqual(proxy.tunnels, [authority]);
    });
  }

  it('gives the name and password of its URL to the proxy', async (test) => {
    const { channel } = await openThrough(test, { credentials: 'me:se cret', user: 'me:se%20cret@' });
    await ask(channel);
  });

  it('says so when the proxy refuses, without its password', async (test) => {
    const { channel, proxy, authority } = await openThrough(test, { credentials: 'me:se cret', user: 'me:wrong@' });
    await assert.rejects(ask(channel), (error: Error) => {
      assert.match(error.message, /HTTP status 407 Proxy Authentication Required/);
      assert.ok(error.message.includes(`the proxy ${proxy.host} does not connect to ${authority}`), error.message);
      return !/wrong/.test(error.message);
    });
  });

  it('fails within the deadline when the proxy never answers', async (test) => {
    const server = await serve(test);
    await using proxy = await startConnectProxy({ silent: true });
    const channel = open(test, server, {
      authority: `${hidden}:42113`,
      clock: new VirtualClock(),
      tls: 'unverified',
      proxy: createProxyRules({ httpsProxy: proxy.host }),
    });
    await assert.rejects(ask(channel), /DEADLINE_EXCEEDED/);
    assert.deepEqual(proxy.tunnels, [`${hidden}:42113`]);
  });

  it('goes directly to loopback and to what NO_PROXY names, whatever the environment says', async (test) => {
    await using proxy = await startConnectProxy();
    test.after(() => void delete process.env['https_proxy']);
    process.env['https_proxy'] = `http://${proxy.host}`;
    const server = await serve(test);
    await ask(open(test, server, { proxy: createProxyRules({ httpsProxy: proxy.host }) }));
    await ask(open(test, server));
    assert.deepEqual(proxy.tunnels, []);
  });

  it('fetches the certificate by the proxy for its URL', async (test) => {
    const server = await serve(test);
    const asked: string[] = [];
    const proxy = createServer((request, response) => {
      asked.push(request.url ?? '');
      response.end(usual.bundle);
    }).listen(0, '127.0.0.1');
    test.after(() => proxy.close().closeAllConnections());
    await once(proxy, 'listening');
    const certificateUrl = `http://${hidden}/cert`;
    const httpProxy = `127.0.0.1:${(proxy.address() as AddressInfo).port}`;
    await ask(open(test, server, { certificateUrl, proxy: createProxyRules({ httpProxy }) }));
    assert.deepEqual(asked, [certificateUrl]);
  });
});

interface ThroughOptions {
  readonly host?: string;
  /** `name:password@` */
  readonly user?: string;
  readonly tls?: 'verified' | 'plaintext';
}

describe('a channel', () => {
  it('refuses to send more than the server takes', async (test) => {
    const channel = open(test, await serve(test));
    const data = Buffer.alloc(4 * 1024 ** 2);
    const request = { workflowId: 'any', metadata: Buffer.from('{}'), data };
    await assert.rejects(channel.call(SERVICE, updateWorkflowData, request, never), /RESOURCE_EXHAUSTED/);
  });

  it('fails within the deadline when the peer never says anything, and leaves no connection behind', async (test) => {
    const closed: Promise<unknown>[] = [];
    const peer = createSocketServer((socket) => closed.push(once(socket.resume(), 'close'))).listen(0, '127.0.0.1');
    test.after(() => peer.close());
    await once(peer, 'listening');
    const authority = `127.0.0.1:${(peer.address() as AddressInfo).port}`;
    for (const tls of ['unverified', 'plaintext'] as const) {
      const channel = open(test, await serve(test), { authority, clock: new VirtualClock(), tls });
      await assert.rejects(ask(channel), /DEADLINE_EXCEEDED/);
    }
    assert.equal(closed.length, 2);
    await Promise.all(closed);
  });

  it('makes one connection for all calls', async (test) => {
    const server = await serve(test);
    const target = Number(server.authority.split(':')[1]);
    let connections = 0;
    const relay = createSocketServer((socket) => {
      connections++;
      pipeline(socket, connect(target, '127.0.0.1'), socket, () => {});
    }).listen(0, '127.0.0.1');
    test.after(() => relay.close());
    await once(relay, 'listening');
    const channel = open(test, server, { authority: `127.0.0.1:${(relay.address() as AddressInfo).port}` });
    for (let call = 0; call < 10; call++) await ask(channel);
    assert.equal(connections, 1);
  });
});
