import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { dockerPullFailure } from '../../agent/runtime/docker/pull-failure.ts';
import { pullError } from '../../agent/runtime/pull-error.ts';
import { Channel } from '../../agent/transport/grpc/channel.ts';
import { systemClock } from '../../clock/system.ts';
import { describeWrongClock, timesOfGo } from '../../net/certificate-time.ts';
import { createHttpClient } from '../../net/http-client.ts';
import { WorkflowServiceDefinition } from '../../proto/tink.pb.ts';
import { RegistryConnection } from '../../registry/connection.ts';
import { parseReference } from '../../registry/image-reference.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';

const day = 24 * 3600 * 1000;
const { signal } = new AbortController();

/** A server whose certificate becomes valid tomorrow, at a full second. */
async function startServerOfTomorrow(t: TestContext) {
  const authority = await createCertificateAuthority();
  const validFrom = new Date(Math.ceil(Date.now() / 1000) * 1000 + day);
  const { certificate, key } = await authority.issue(['127.0.0.1'], {
    validFrom,
    validUntil: new Date(validFrom.getTime() + day),
  });
  const server = createServer({ cert: certificate, key, ALPNProtocols: ['h2', 'http/1.1'] }, (_request, response) =>
    response.end('never'),
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const begins = `${validFrom.toISOString().slice(0, 19).replace('T', ' ')} UTC`.replaceAll('.', '\\.');
  return {
    authority: authority.certificate,
    url: `https://127.0.0.1:${port}/`,
    explanation: new RegExp(
      `the clock is wrong: it shows 20\\d\\d-\\d\\d-\\d\\d \\d\\d:\\d\\d:\\d\\d UTC; the certificate of 127\\.0\\.0\\.1:${port} is valid from ${begins} \\(set the clock`,
    ),
  };
}

test('a download from a server whose certificate is not valid yet blames the clock', async (t) => {
  const { authority, url, explanation } = await startServerOfTomorrow(t);
  using client = createHttpClient({
    clock: systemClock,
    timeoutSeconds: 20,
    proxy: () => undefined,
    tls: () => ({ ca: authority }),
  });
  await assert.rejects(client.request({ url: new URL(url) }, signal), (error: Error & { code?: string }) => {
    assert.match(error.message, explanation);
    assert.equal(error.code, 'CERT_NOT_YET_VALID');
    assert.match(String(error.cause instanceof Error && error.cause.cause), /certificate is not yet valid/);
    return true;
  });
  const texts = await Promise.all(
    [0, 1100].map(async (milliseconds) => {
      await delay(milliseconds);
      return await client.request({ url: new URL(url) }, signal).catch(String);
    }),
  );
  assert.equal(texts[0], texts[1], 'the same text at each attempt');
});

test('a registry whose certificate is not valid yet is no matter of trust', async (t) => {
  const { authority, url, explanation } = await startServerOfTomorrow(t);
  const host = {
    url: new URL(`${url}v2`),
    tls: { authorities: [authority], clientCertificates: [], verify: true },
    ...{ isRegistry: true, resolves: true, pulls: true, allowsPlainHttp: false, headers: {} },
  };
  using connection = new RegistryConnection(host, 20, systemClock);
  await assert.rejects(
    connection.request(new URL(url), { headers: {}, privateHeaders: {} }, signal),
    (error: Error & { reason?: string }) => {
      assert.match(error.message, explanation);
      assert.equal(error.reason, 'certificate-not-yet-valid');
      return true;
    },
  );
});

test('a gRPC server whose certificate is not valid yet blames the clock, in the same words at each attempt', async (t) => {
  const { authority, url, explanation } = await startServerOfTomorrow(t);
  await using channel = new Channel({ authority: new URL(url).host, certificateAuthority: authority });
  const { fullName, methods } = WorkflowServiceDefinition;
  const ask = () =>
    channel
      .call(fullName, methods.getWorkflowActions, { workflowId: 'any' }, signal)
      .catch((error: Error) => error.message);
  const first = String(await ask());
  assert.match(first, explanation);
  assert.doesNotMatch(first, /certificate URL/);
  assert.equal(await ask(), first);
});

const docker =
  'Get "https://registry.example/v2/": tls: failed to verify certificate: x509: certificate has expired or is not yet valid: current time 2020-01-02T03:04:05Z is before 2026-02-03T00:00:00Z';

test("Docker's words for it are understood and explained", () => {
  assert.equal(dockerPullFailure(docker, 500), 'certificate-not-yet-valid');
  const reference = parseReference('registry.example/hello');
  const attempt = { image: reference.canonical, host: reference.host, hadLogin: false };
  const hints = { 'untrusted-certificate': () => 'trust it' };
  assert.equal(
    pullError('certificate-not-yet-valid', docker, attempt, hints).message,
    `cannot pull ${reference.canonical}: ${docker} (the clock is wrong: it shows 2020-01-02 03:04:05 UTC; the certificate of registry.example is valid from 2026-02-03 00:00:00 UTC (set the clock of the machine, or give it a time server by DHCP option 42 or ntp_servers= on the kernel command line))`,
  );
});

test('a certificate that has expired is another matter', () => {
  const expired = docker.replace('is before 2026-02-03T00:00:00Z', 'is after 2019-02-03T00:00:00Z');
  assert.equal(timesOfGo(expired), undefined);
  assert.equal(dockerPullFailure(expired, 500), 'untrusted-certificate');
});

test('a server that cannot be asked again is blamed without a time', () => {
  const now = new Date(Date.UTC(2020, 0, 2));
  assert.match(
    describeWrongClock('a:443', undefined, now),
    /^the clock is wrong: it shows 2020-01-02 00:00:00 UTC; the certificate of a:443 is not valid yet \(/,
  );
});
