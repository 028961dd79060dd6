import { z } from 'zod';
import { settingsOf } from '../names.ts';
import { authority, choice, httpUrl, logLevel, port, string, syslogHost } from '../values.ts';

const setting = settingsOf('Files and log');

export const filesAndLogSettings = {
  workDirectory: setting(string().default('/worker'), {
    name: 'work-directory',
    description:
      'Directory with a directory for each workflow, which its actions see as /workflow. A file named reboot in it requests a reboot of the machine.',
    value: 'DIRECTORY',
  }),
  stateDirectory: setting(string().default('/var/lib/nibs'), {
    name: 'state-directory',
    description:
      'Directory of the journal: what started, what ended, what the server has acknowledged. On a disk it survives the machine, in memory the agent.',
    value: 'DIRECTORY',
  }),
  logLevel: setting(logLevel().default('info'), {
    name: 'log-level',
    description: 'Minimum level to log: fatal, error, warn, info, debug, trace; or 0, 1, 2 as with tink-agent.',
    value: 'LEVEL',
    environment: ['AGENT_LOG_LEVEL', 'WORKER_LOG_LEVEL'],
  }),
  logFormat: setting(choice(['auto', 'text', 'json']).default('auto'), {
    name: 'log-format',
    description: 'Text lines for people, or JSON lines. auto: text on a terminal or console, else JSON.',
    value: 'auto|text|json',
  }),
  syslogHost: setting(syslogHost().optional(), {
    name: 'syslog-host',
    description: 'Syslog server to forward the log to. Default: off, the log is not forwarded.',
    value: 'HOST[:PORT]|off',
    kernel: ['syslog_host'],
  }),
  syslogPort: setting(port().default(514), {
    name: 'syslog-port',
    description: 'Port of that server, if its address has none.',
    value: 'PORT',
    kernel: ['syslog_port'],
  }),
  syslogProtocol: setting(choice(['udp', 'tcp']).default('udp'), {
    name: 'syslog-protocol',
    description:
      'Protocol to that server: UDP, which every server supports, or TCP, which loses nothing while the server is away for a minute.',
    value: 'udp|tcp',
    kernel: ['syslog_protocol'],
  }),
  syslogFormat: setting(choice(['rfc5424', 'rfc5424-structured', 'rfc3164']).default('rfc5424'), {
    name: 'syslog-format',
    description:
      'Format of the messages: RFC 5424 with all fields in the text, which Smee, rsyslog and syslog-ng show in full; RFC 5424 with fields as structured data, which Smee drops; or RFC 3164.',
    value: 'FORMAT',
    kernel: ['syslog_format'],
  }),
  reportUrl: setting(httpUrl().optional(), {
    name: 'report-url',
    description:
      'URL to which a report of the machine is sent by HTTP PUT when an action fails: log, devices, network, engine, without secrets. Default: none is sent.',
    value: 'URL',
  }),
  statusAddress: setting(
    z
      .union([z.literal('off'), authority(42115)], 'must be host:port, for example 127.0.0.1:42115, or off')
      .default('127.0.0.1:42115'),
    {
      name: 'status-address',
      description: 'Address that serves /healthz, /metrics and /status, or off.',
      value: 'HOST:PORT|off',
    },
  ),
  consoleView: setting(
    z
      .union(
        [z.enum(['off', 'auto']), z.string().startsWith('/dev/')],
        'must be off, auto or a device, for example /dev/tty1',
      )
      .default('off'),
    {
      name: 'console-view',
      description:
        'Console that shows the status of the agent: a full-screen view on a screen, lines on a serial console. auto: all consoles of the kernel.',
      value: 'DEVICE|auto|off',
    },
  ),
};
