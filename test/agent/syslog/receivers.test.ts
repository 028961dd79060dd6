/**
 * How receivers of syslog read our log: Smee's parser by its rules, rsyslog and syslog-ng for real.
 */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import type { SyslogFormat } from '../../../agent/syslog/message.ts';
import { startSyslog } from '../../../agent/syslog/syslog.ts';
import { ports, type RealSyslog, type ReceivedMessage, startRealSyslog } from '../../sandbox/real-syslog.ts';
import { parseAsSmee, startSmeeSyslog } from '../../sandbox/smee-syslog.ts';

const sender = { hostName: '08:00:27:00:00:01', programName: 'tink-agent', processId: 42 };
const time = new Date().toISOString();
const long = 'aé€😀'.repeat(2000);

/** What an agent logs. */
const records = [
  { level: 'info', msg: 'the agent starts', worker: 'w1' },
  {
    level: 'info',
    workflow: 'w',
    task: 't',
    action: 'install',
    stream: 'stdout',
    msg: 'progress [#####] 50 % "ü"\n{"a": 1}',
  },
  { level: 'warn', workflow: 'w', task: 't', action: 'install', msg: 'the action is interrupted', signal: 9 },
  { level: 'error', msg: 'tab\there, <13>Jan  1 00:00:00 other forged: text' },
  { level: 'fatal', msg: long },
  { level: 'debug', msg: 'asked for work' },
] as const;

const texts = [
  'the agent starts (worker=w1)',
  '[install] progress [#####] 50 % "ü"',
  '[install] {"a": 1}',
  '[install] the action is interrupted (workflow=w, task=t, signal=9)',
  'tab\there, <13>Jan  1 00:00:00 other forged: text',
  long,
  'asked for work',
];
const last = 'asked for work';

async function send(host: string, port: number, protocol: 'tcp' | 'udp', format: SyslogFormat): Promise<void> {
  await using syslog = startSyslog({ host, port, protocol, format, sender, onChange: () => {} });
  for (const record of records) syslog.write(JSON.stringify({ time, ...record }));
}

/** Parts of the long line put together again. */
function joined(received: readonly string[]): string[] {
  return received.reduce<string[]>((all, text) => {
    const isPart = /^[aé€😀�]+$/u.test(text);
    if (isPart && /^[aé€😀�]+$/u.test(all.at(-1) ?? '')) all.push(`${all.pop()}${text}`);
    else all.push(text);
    return all;
  }, []);
}

describe('Smee', () => {
  test('shows the log whole at its usual level, but for debug messages', async () => {
    await using smee = await startSmeeSyslog();
    await send('127.0.0.1', smee.port, 'udp', 'rfc5424');
    await smee.receivedUntil(last);
    assert.deepEqual(
      joined(smee.shown.map(({ message }) => String(message))),
      texts.filter((text) => text !== 'asked for work'),
    );
    assert.deepEqual(smee.hidden.length, 1);
    for (const record of smee.shown) {
      assert.deepEqual(
        [record.facility, record.hostname, record.application, record.processId],
        [3, sender.hostName, 'tink-agent', '42'],
      );
    }
    assert.deepEqual([...new Set(smee.shown.map(({ severity }) => severity))], [6, 4, 3, 2]);
  });

  test('shows nothing of RFC 5424 with structured data, which is why that is not the default', async () => {
    await using smee = await startSmeeSyslog();
    await send('127.0.0.1', smee.port, 'udp', 'rfc5424-structured');
    await smee.receivedUntil(last);
    assert.deepEqual(smee.shown, []);
  });

  test('takes the host name of RFC 3164 for the tag, and shows the text whole', () => {
    const record = parseAsSmee('<30>Mar  4 05:06:07 machine tink-agent[42]: text');
    assert.deepEqual([record?.application, record?.message], ['machine', ' tink-agent[42]: text']);
  });
});

const names = ['rsyslog', 'syslog-ng'] as const;

describe('servers of Debian', () => {
  const servers = new Map<string, RealSyslog>();
  before(async () => {
    await Promise.all(names.map(async (name) => servers.set(name, await startRealSyslog(name))));
  });
  after(() => Promise.all([...servers.values()].map((server) => server[Symbol.asyncDispose]())));

  for (const name of names) {
    for (const format of ['rfc5424', 'rfc3164'] as const) {
      for (const protocol of ['udp', 'tcp'] as const) {
        test(`${name} shows the log whole (${format} over ${protocol})`, async () => {
          const server = servers.get(name) ?? assert.fail(`${name} did not start`);
          await send(server.address, ports[format === 'rfc5424' ? 5424 : 3164], protocol, format);
          assertWhole(await server.receivedUntil(last), format);
          const written = /\[install\] the action is interrupted \(workflow=w, task=t, signal=9\)$/m;
          assert.match(await server.asWritten(), written);
        });
      }
    }
  }
});

function assertWhole(received: readonly ReceivedMessage[], format: 'rfc5424' | 'rfc3164'): void {
  // rsyslog writes control characters as their octal numbers.
  assert.deepEqual(joined(received.map(({ text }) => text.replaceAll('#011', '\t'))), texts);
  const host = format === 'rfc3164' ? '08-00-27-00-00-01' : sender.hostName;
  for (const { host: of, program, processId } of received) {
    assert.deepEqual([of, program, processId], [host, 'tink-agent', '42']);
  }
  assert.deepEqual([...new Set(received.map(({ severity }) => severity))], ['info', 'warning', 'err', 'crit', 'debug']);
}
