import assert from 'node:assert/strict';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { test } from 'node:test';
import { connect, createServer } from 'node:tls';
import { reasonOf } from '../../errors/reason.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';

test('reasonOf() is the message of an error, or its name where it has none', () => {
  assert.equal(reasonOf(new Error('the disk is full')), 'the disk is full');
  assert.equal(reasonOf(new TypeError('')), 'TypeError');
  assert.equal(reasonOf('no error'), 'no error');
});

test('reasonOf() lists the reasons of attempts that have no message in common', () => {
  const attempts = new AggregateError([new Error('connect ECONNREFUSED ::1:80'), new Error('connect ENETUNREACH')], '');
  assert.equal(reasonOf(attempts), 'connect ECONNREFUSED ::1:80; connect ENETUNREACH');
  assert.equal(reasonOf(new AggregateError([new Error('one')], 'two bad signatures')), 'two bad signatures');
});

test('reasonOf() is free of the advice to start Node.js with another option', async () => {
  const { key, certificate } = await (await createCertificateAuthority()).issue(['localhost']);
  const server = createServer({ key, cert: certificate }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const socket = connect({
      host: '127.0.0.1',
      port: (server.address() as AddressInfo).port,
      servername: 'localhost',
    });
    const [error] = await once(socket, 'error');
    assert.match(error.message, /Node\.js/);
    assert.equal(reasonOf(error), 'unable to verify the first certificate');
  } finally {
    server.close();
  }
});
