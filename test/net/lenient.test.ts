/** Responses as small devices send them. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { type TestContext, test } from 'node:test';
import { systemClock } from '../../clock/system.ts';
import { createHttpClient } from '../../net/http-client.ts';

const signal = new AbortController().signal;
const length = 'Content-Length: 300000\r\n';
const ok = 'HTTP/1.1 200 OK\r\n';
const body = 'x'.repeat(300_000);

const heads: Readonly<Record<string, string>> = {
  'lines that end with LF': 'HTTP/1.1 200 OK\nContent-Length: 300000\nServer: x\n\n',
  'a Content-Length twice': `${ok}${length}Server: x\r\n${length}\r\n`,
  'a Content-Length twice in one line': `${ok}Content-Length: 300000, 300000\r\n\r\n`,
  'a header of 20 kB': `${ok}Set-Cookie: ${'a'.repeat(20_000)}\r\n${length}\r\n`,
  'a folded line': `${ok}Server: a\r\n  b\r\n${length}\r\n`,
  'no reason': `HTTP/1.0 200\r\n${length}\r\n`,
};

async function get(test: TestContext, head: string, lenient: boolean): Promise<string> {
  const server = createServer((socket) => {
    socket.on('error', () => {});
    // In pieces: the head, and the end of a line, are not in one.
    socket.once('data', () => {
      for (let at = 0; at < head.length; at += 1000) socket.write(head.slice(at, at + 1000));
      socket.end(body);
    });
  });
  server.listen(0, '127.0.0.1');
  test.after(() => server.close());
  await once(server, 'listening');
  const address = server.address();
  assert.ok(address !== null && typeof address === 'object');
  using client = createHttpClient({ clock: systemClock, timeoutSeconds: 20, proxy: () => undefined, tls: () => ({}) });
  const response = await client.request({ url: new URL(`http://127.0.0.1:${address.port}/x`), lenient }, signal);
  assert.equal(response.headers['content-length'], '300000');
  let text = '';
  for await (const chunk of response.body) text += chunk;
  return text;
}

for (const [name, head] of Object.entries(heads)) {
  test(`a lenient request takes ${name}`, async (test) => {
    assert.equal(await get(test, head, true), body);
  });
}

test('no request takes two lengths that differ, and only a lenient one what is not of HTTP', async (test) => {
  await assert.rejects(get(test, `${ok}Content-Length: 5\r\n${length}\r\n`, true), /Duplicate Content-Length/);
  for (const name of ['lines that end with LF', 'a Content-Length twice', 'a folded line'])
    await assert.rejects(get(test, heads[name] ?? '', false), /Parse Error/);
});
