import { deepEqual, equal, match, ok, rejects } from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test } from 'node:test';
import { createRedactor } from '../../../agent/log/redact.ts';
import { describeFileSystems } from '../../../agent/report/file-systems.ts';
import { learnKernelSecrets } from '../../../agent/report/kernel-secrets.ts';
import { reportProgram } from '../../../agent/report/program.ts';
import { makeReport } from '../../../agent/report/report.ts';
import { sendReport } from '../../../agent/report/send.ts';
import { systemClock } from '../../../clock/system.ts';

const { signal } = new AbortController();

test('a report has the output of commands and the content of files, without secrets', async () => {
  await using directory = await makeDirectory({ one: 'first\n', two: 'the password is hunter22\n', three: 'unwanted' });
  const redactor = createRedactor();
  redactor.learn('hunter22');
  const sections = [
    { title: 'a command', command: ['echo', 'hunter22', 'https://me:pass@host/'] },
    { title: 'files', directory: directory.path, files: /^(one|two)$/ },
  ] as const;
  equal(
    (await makeReport(sections, redactor, signal)).replaceAll(directory.path, ''),
    '=== a command\n*** https://me:***@host/\n\n=== /one\nfirst\n\n=== /two\nthe password is ***\n',
  );
});

test('what looks like a secret on the kernel command line is masked, also in what is no valid setting', async () => {
  await using directory = await makeDirectory({
    cmdline:
      'quiet bmc_password=first1 nibs_registries="a:5000=me:second2 b=you:third3 broken" grpc_authority=host:1\n',
  });
  const redactor = createRedactor();
  await learnKernelSecrets(redactor, join(directory.path, 'cmdline'));
  const sections = [{ title: 'files', directory: directory.path, files: /./ }] as const;
  const [, line] = (await makeReport(sections, redactor, signal)).split('\n');
  equal(line, 'quiet bmc_password=*** nibs_registries="a:5000=me:*** b=you:*** broken" grpc_authority=host:1');
});

test('a report has no control characters of what it contains', async () => {
  await using directory = await makeDirectory({ log: 'one\u001b[2Jtwo\u009b31m\u0007\nthree\u0085four\n' });
  const sections = [{ title: 'log', directory: directory.path, files: /log/ }];
  const [, ...lines] = (await makeReport(sections, createRedactor(), signal)).trimEnd().split('\n');
  for (const line of lines) ok(!/\p{Cc}/u.test(line), JSON.stringify(line));
  deepEqual(lines.length, 2);
});

test('what cannot be read has its reason in its place', async () => {
  const sections = [
    { title: 'missing', command: ['no-such-program'] },
    { title: 'failing', command: ['sh', '-c', 'echo half; echo broken >&2; exit 3'] },
    { title: 'files of /no-such-directory', directory: '/no-such-directory', files: /./ },
  ] as const;
  const report = await makeReport(sections, createRedactor(), signal);
  match(report, /=== missing\n\[.*no-such-program.*not found.*\]\n/);
  match(report, /=== failing\nhalf\n\[.*broken.*\]\n/);
  match(report, /=== files of \/no-such-directory\n\[ENOENT.*\]\n/);
});

test('the file systems are reported with their free space', async () => {
  match(await describeFileSystems(), /^\/ \(\S+\): \d+ of \d+ KiB free$/m);
});

test('a report is stored by PUT', async () => {
  await using server = await startServer(201);
  await sendReport(new URL('/reports/one.txt', server.url), 'all of it', systemClock, signal);
  equal(server.received.join(), 'PUT /reports/one.txt text/plain; charset=utf-8 all of it');
});

for (const status of [301, 405, 500]) {
  test(`a server that answers ${status} has not stored it`, async () => {
    await using server = await startServer(status);
    await rejects(
      sendReport(new URL('/r?token=abc', server.url), 'text', systemClock, signal),
      new RegExp(`cannot send the report to http://127.0.0.1:\\d+/r: the server answered ${status} .*must accept PUT`),
    );
  });
}

test('a URL without --send is a mistake, not ignored', async (context) => {
  const written = context.mock.method(process.stderr, 'write', () => true);
  const code = await reportProgram(['--url', 'http://127.0.0.1:9/report'], systemClock);
  written.mock.restore();
  equal(code, 2);
  equal(written.mock.calls[0]?.arguments[0], 'nibs-report: --url is only for --send: give --send too\n');
});

async function makeDirectory(content: Readonly<Record<string, string>>) {
  const path = await mkdtemp(join(tmpdir(), 'nibs-report-'));
  for (const [name, one] of Object.entries(content)) await writeFile(join(path, name), one);
  return { path, [Symbol.asyncDispose]: async () => await rm(path, { recursive: true }) };
}

async function startServer(status: number) {
  const received: string[] = [];
  const server = createServer(async (request, answer) => {
    received.push(`${request.method} ${request.url} ${request.headers['content-type']} ${await text(request)}`);
    answer.writeHead(status, { location: '/other' }).end();
  });
  await new Promise<void>((listening) => server.listen(0, '127.0.0.1', listening));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    received,
    [Symbol.asyncDispose]: async () => void server.close().closeAllConnections(),
  };
}
