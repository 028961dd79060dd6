import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, createConnection, createServer } from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { createServerTransport, type ServerTransportOptions } from '../../../../agent/transport/grpc/server.ts';
import type { Transport } from '../../../../agent/transport/transport.ts';
import { createCertificateAuthority } from '../../../sandbox/certificates.ts';
import { MACHINE_ONE } from '../../../sandbox/tink-server/example.ts';
import {
  SERVER_DIALECTS,
  startTinkServer,
  type TinkServer,
  type TinkServerOptions,
} from '../../../sandbox/tink-server/server.ts';

const never = new AbortController().signal;

async function serve(test: TestContext, options: TinkServerOptions): Promise<TinkServer> {
  const server = await startTinkServer({ retry: { intervalSeconds: 0.02, limitSeconds: 0.02 }, ...options });
  test.after(() => server.stop());
  return server;
}

function connect(test: TestContext, server: TinkServer, options: Partial<ServerTransportOptions> = {}): Transport {
  const { authority } = server;
  const transport = createServerTransport({ authority, workerId: MACHINE_ONE.id, rpcTimeoutSeconds: 5, ...options });
  test.after(() => transport[Symbol.asyncDispose]());
  return transport;
}

describe('the dialect', () => {
  for (const dialect of SERVER_DIALECTS) {
    it(`of a ${dialect} server is found, or configured`, async (test) => {
      const server = await serve(test, { dialect });
      const trust = server.tls ? { certificateAuthority: server.certificate.bundle } : { tls: false };
      for (const wanted of ['auto', dialect] as const) {
        const found: string[] = [];
        const onDialect = (name: string) => found.push(name);
        const transport = connect(test, server, { ...trust, dialect: wanted, onDialect });
        assert.equal((await transport.next(never)).kind, 'idle');
        assert.equal((await transport.next(never)).kind, 'idle');
        // v0.7 differs from v0.2 in nothing that a worker can tell without effect.
        assert.deepEqual(found, [wanted === 'auto' && dialect === 'v0.7' ? 'v0.2' : dialect]);
      }
    });
  }
});

describe('TLS that is not configured', () => {
  it('is used if the server has it, and a certificate that is not to be trusted is refused', async (test) => {
    const transport = connect(test, await serve(test, { dialect: 'current', tls: true }));
    await assert.rejects(transport.next(never), /certificate/);
  });

  it('is not done without if the server has none', async (test) => {
    for (const dialect of ['current', 'v0.9'] as const) {
      const server = await serve(test, { dialect });
      await assert.rejects(
        connect(test, server).next(never),
        /the server does not speak TLS: set tinkerbell_tls=false/,
      );
      assert.equal((await connect(test, server, { tls: false }).next(never)).kind, 'idle');
    }
  });

  it('is not done without if its connections are reset, though the server has plaintext for it', async (test) => {
    const server = await serve(test, { dialect: 'current' });
    const [host = '', port = ''] = server.authority.split(':');
    let [resets, others] = [0, 0];
    const attacker = createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', (first) => {
        if (first[0] === 0x16) {
          resets++;
          socket.resetAndDestroy();
          return;
        }
        others++;
        const onwards = createConnection(Number(port), host).on('error', () => undefined);
        onwards.write(first);
        socket.pipe(onwards).pipe(socket);
      });
    }).listen(0, '127.0.0.1');
    test.after(() => attacker.close());
    await once(attacker, 'listening');
    const authority = `127.0.0.1:${(attacker.address() as AddressInfo).port}`;
    const transport = connect(test, server, { authority });
    await assert.rejects(transport.next(never), /UNAVAILABLE/);
    await assert.rejects(transport.next(never), /UNAVAILABLE/);
    assert.ok(resets >= 2, `${resets} handshakes`);
    assert.equal(others, 0, 'nothing was sent in plaintext');
  });

  it('is insisted on once the server has answered with it, or when a certificate is named', async (test) => {
    const server = await serve(test, { dialect: 'v0.2' });
    const transport = connect(test, server, { verify: false });
    const named = connect(test, server, { certificateAuthority: server.certificate.bundle });
    assert.equal((await transport.next(never)).kind, 'idle');
    await server.stop();
    const port = Number(server.authority.split(':')[1]);
    await serve(test, { dialect: 'v0.2', tls: false, address: server.address, grpcPort: port });
    await assert.rejects(transport.next(never), /UNAVAILABLE/);
    await assert.rejects(transport.next(never), /UNAVAILABLE/);
    await assert.rejects(named.next(never), /UNAVAILABLE/);
  });

  it('is as the generation has it when that is configured', async (test) => {
    const plain = await serve(test, { dialect: 'v0.9' });
    await assert.rejects(connect(test, plain, { dialect: 'v0.9' }).next(never), /wrong version number/);
    const current = connect(test, await serve(test, { dialect: 'current' }), { dialect: 'current' });
    assert.equal((await current.next(never)).kind, 'idle');
  });
});

it('a server that wants to know its clients is shown a certificate, in every dialect', async (test) => {
  const authority = await createCertificateAuthority('clients');
  const { certificate, key } = await authority.issue(['agent'], { usage: 'client' });
  for (const dialect of SERVER_DIALECTS) {
    const server = await serve(test, { dialect, tls: true, clientAuthority: authority.certificate });
    const trust = { certificateAuthority: server.certificate.bundle };
    await assert.rejects(connect(test, server, trust).next(never), /UNAVAILABLE/);
    const known = connect(test, server, { ...trust, clientCertificate: { certificate, key } });
    assert.equal((await known.next(never)).kind, 'idle');
  }
});
