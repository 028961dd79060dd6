/**
 * The syslog servers of Debian, rsyslog and syslog-ng. Their packages cannot be installed together,
 * nor beside the machine's own; so each is unpacked with all that it depends on and runs in that
 * tree, on an address of its own.
 */
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { execa } from 'execa';
import { unpackPackages } from '../../debian/unpack.ts';
import { startDaemon } from './daemon.ts';
import { loopbackAddress } from './loopback-address.ts';
import { selectSyslog } from './packages.ts';

/** Where each server listens. `5424` and `3164` tell syslog-ng what comes; rsyslog finds out. */
export const ports = { 5424: 15424, 3164: 13164 } as const;

/** What a server made of a message. */
export interface ReceivedMessage {
  readonly severity: string;
  readonly host: string;
  readonly program: string;
  readonly processId: string;
  readonly text: string;
}

export interface RealSyslog extends AsyncDisposable {
  readonly address: string;
  /**
   * Resolves when the server has written a message with this text, with all since the last call.
   */
  receivedUntil(text: string): Promise<readonly ReceivedMessage[]>;
  /** The same in the format that the server writes files in by default. */
  asWritten(): Promise<string>;
}

const tab = String.fromCharCode(9);

const servers = {
  rsyslog: {
    package: 'rsyslog',
    program: 'rsyslogd',
    parameters: ['-n', '-f', '/test.conf', '-i', 'NONE'],
    configuration: (address: string) => `
      global(workDirectory="/received")
      module(load="imudp")
      module(load="imtcp")
      ${Object.values(ports)
        .map(
          (port) =>
            `input(type="imudp" address="${address}" port="${port}") input(type="imtcp" address="${address}" port="${port}")`,
        )
        .join('\n')}
      template(name="parsed" type="string" string="%syslogseverity-text%${tab}%hostname%${tab}%programname%${tab}%procid%${tab}%msg%\\n")
      *.* action(type="omfile" file="/received/parsed" template="parsed")
      *.* action(type="omfile" file="/received/default" template="RSYSLOG_TraditionalFileFormat")
    `,
  },
  'syslog-ng': {
    package: 'syslog-ng-core',
    program: 'syslog-ng',
    parameters: [
      '--foreground',
      '--no-caps',
      '--cfgfile=/test.conf',
      '--persist-file=/received/persist',
      '--pidfile=/received/pid',
      '--control=/received/control',
    ],
    configuration: (address: string) => `@version: current
      options { keep-hostname(yes); };
      source s {
        syslog(ip("${address}") port(${ports[5424]}) transport("udp"));
        syslog(ip("${address}") port(${ports[5424]}) transport("tcp"));
        network(ip("${address}") port(${ports[3164]}) transport("udp"));
        network(ip("${address}") port(${ports[3164]}) transport("tcp"));
      };
      destination parsed { file("/received/parsed" template("$LEVEL${tab}$HOST${tab}$PROGRAM${tab}$PID${tab}$MSG\\n")); };
      destination default { file("/received/default"); };
      log { source(s); destination(parsed); destination(default); };
    `,
  },
} as const;

export async function startRealSyslog(name: keyof typeof servers): Promise<RealSyslog> {
  const server = servers[name];
  const directory = await mkdtemp(join(tmpdir(), `nibs-${name}-`));
  const root = join(directory, 'root');
  await mkdir(root);
  const { files } = await selectSyslog(server.package);
  await unpackPackages(files.values(), root, ['./usr/share/doc', './usr/share/locale']);
  await mkdir(join(root, 'received'));
  await mkdir(join(root, 'dev'), { recursive: true });
  for (const [name, minor] of Object.entries({ null: '3', urandom: '9' }))
    await execa('mknod', ['-m', '666', join(root, 'dev', name), 'c', '1', minor]);
  const address = loopbackAddress();
  await writeFile(join(root, 'test.conf'), server.configuration(address));
  const read = (file: string) => readFile(join(root, 'received', file), 'utf8').catch(() => '');
  const daemon = await startDaemon({
    program: 'chroot',
    parameters: [root, server.program, ...server.parameters],
    logPath: join(directory, 'log'),
    ask: () => Promise.all(Object.values(ports).map((port) => greet(port, address))),
  });
  let seen = 0;
  return {
    address,
    async receivedUntil(text) {
      for (;;) {
        const lines = (await read('parsed')).split('\n').slice(seen, -1).map(parse);
        const end = lines.findIndex((line) => line.text === text);
        seen += end + 1;
        if (end >= 0) return lines.slice(0, end + 1);
        await delay(20);
      }
    },
    asWritten: () => read('default'),
    async [Symbol.asyncDispose]() {
      await daemon.end();
      await rm(directory, { recursive: true, force: true });
    },
  };
}

async function greet(port: number, address: string): Promise<void> {
  const socket = connect(port, address);
  try {
    await once(socket, 'connect');
  } finally {
    socket.destroy();
  }
}

function parse(line: string): ReceivedMessage {
  const [severity = '', host = '', program = '', processId = '', ...text] = line.split(tab);
  return { severity, host, program, processId, text: text.join(tab).trimStart() };
}
