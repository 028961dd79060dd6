import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { after, before, test } from 'node:test';
import { Client, credentials, Server, ServerCredentials, type ServerDuplexStream, status } from '@grpc/grpc-js';
import { systemClock } from '../../../clock/system.ts';
import { type CallOptions, openBidirectional } from '../../../net/grpc/call.ts';
import { GrpcError } from '../../../net/grpc/grpc-error.ts';
import type { Method } from '../../../net/grpc/method.ts';

type ServerCall = ServerDuplexStream<string, string>;

const text = {
  encode: (content: string) => ({ finish: () => Buffer.from(content) }),
  decode: (bytes: Uint8Array) => Buffer.from(bytes).toString(),
};
const method: Method<string, string> = { name: 'Talk', requestType: text, responseType: text };
const path = '/test.Service/Talk';

const server = new Server();
/** Emits `call` for each call that the server gets. */
const calls = new EventEmitter();
let client: Client;

/** Answers each request with itself and the metadata `name`; `fail` fails the call. */
function talk(call: ServerCall): void {
  calls.emit('call', call);
  call.on('data', (request: string) => {
    if (request === 'fail') call.emit('error', { code: status.NOT_FOUND, details: 'no such thing' });
    else call.write(`${request} ${call.metadata.get('name')}`);
  });
  call.on('end', () => call.end());
}

before(async () => {
  const serialize = (content: string) => Buffer.from(content);
  const stream = { path, requestStream: true, responseStream: true };
  const requests = { requestSerialize: serialize, requestDeserialize: String };
  const responses = { responseSerialize: serialize, responseDeserialize: String };
  server.addService({ talk: { ...stream, ...requests, ...responses } }, { talk });
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, port) => {
    if (error) reject(error);
    else resolve(port);
  });
  client = new Client(`127.0.0.1:${await promise}`, credentials.createInsecure());
});
after(() => {
  client.close();
  server.forceShutdown();
});

function open(options: Partial<CallOptions> = {}) {
  const { signal } = new AbortController();
  return openBidirectional(client, path, method, { clock: systemClock, signal, ...options });
}

test('openBidirectional() sends requests with the metadata, and reads the responses', async () => {
  using call = open({ metadata: { name: 'nibs' } });
  for (const request of ['one', 'two']) {
    call.send(request);
    assert.deepEqual(await call.responses.next(), { done: false, value: `${request} nibs` });
  }
});

test('a bidirectional call fails with a GrpcError, also if it failed before the responses were read', async () => {
  const isNotFound = (error: unknown) => error instanceof GrpcError && error.code === status.NOT_FOUND;
  const called = once(calls, 'call') as Promise<[ServerCall]>;
  using call = open();
  call.send('fail');
  await called;
  // A call that is opened later, answered after the failure of the first.
  using later = open();
  later.send('one');
  await later.responses.next();
  await assert.rejects(call.responses.next(), isNotFound);
});

test('a bidirectional call ends with its signal, and fails with its reason', async () => {
  const stop = new AbortController();
  using call = open({ signal: stop.signal });
  call.send('one');
  await call.responses.next();
  const reason = new Error('not wanted any more');
  stop.abort(reason);
  await assert.rejects(call.responses.next(), reason);
  assert.throws(() => open({ signal: stop.signal }), reason);
});

test('a bidirectional call that is disposed of is cancelled, although its responses were never read', async () => {
  const called = once(calls, 'call') as Promise<[ServerCall]>;
  const call = open();
  call.send('one');
  const [serverCall] = await called;
  const cancelled = once(serverCall, 'cancelled');
  call[Symbol.dispose]();
  await cancelled;
});
