import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, type TestContext, test } from 'node:test';
import { execa } from 'execa';
import { fetchSystem } from '../../initramfs/system.ts';

/*
 * The clock of the boot image, with its shell and its programs, in a network namespace where
 * servers tell different times. A test must not set the host's clock, so that alone is replaced by
 * a file, and nothing here may set the other (CAP_SYS_TIME). boot.test.ts sets the clock of a real
 * kernel.
 */

const { packages } = await fetchSystem(resolve(import.meta.dirname, '../../build/cache'));
const busybox = join(packages, 'bin/busybox');
const library = resolve(import.meta.dirname, '../../initramfs/files/system/lib/nibs');
const servers = resolve(import.meta.dirname, '../sandbox/time-servers.ts');

/** When the image was made. */
const made = Date.UTC(2026, 0, 1) / 1000;
/**
 * Each server has another time, which shows whose the machine took; the clock itself is a year
 * behind.
 */
const [offered, named, web, publicTime] = [366, 367, 368, 369].map((day) => made + day * 86400) as [
  number,
  number,
  number,
  number,
];
const nothing = '10.255.255.1'; // an address that swallows what is sent to it

interface Case {
  readonly title: string;
  /** Kernel command line. Default: none. */
  readonly commandLine?: string;
  /** Time servers of the DHCP answer. Default: none. */
  readonly option42?: string;
  /** KIND,ADDRESS,PORT,SECONDS as of time-servers.ts. */
  readonly servers: readonly string[];
  /** What the clock shows before. Default: when the image was made, plus a day. */
  readonly clock?: number;
  /** What the clock was set to. */
  readonly set: readonly number[];
  readonly announced: readonly RegExp[];
}

const pool = '127.0.0.9';
const everyServer = [
  `ntp,127.0.0.2,123,${offered}`,
  `ntp,127.0.0.3,123,${named}`,
  `http,127.0.0.4,7080,${web}`,
  `ntp,${pool},123,${publicTime}`,
];
/** What smee writes, of which none names a time server or a web server. */
const smee =
  'facility= syslog_host=127.0.0.4 grpc_authority=127.0.0.4:42113 worker_id=08:00:27:00:00:01 tinkerbell_tls=false';

const cases: readonly Case[] = [
  {
    title: 'the time server of the DHCP answer comes before all others',
    commandLine: `${smee} ntp_servers=127.0.0.3`,
    option42: '127.0.0.2',
    servers: everyServer,
    set: [offered],
    announced: [/^clock set by 127\.0\.0\.2: it was 31536000 s slow$/],
  },
  {
    title: 'a time server that does not answer is followed by the named one',
    commandLine: `${smee} ntp_servers=127.0.0.3`,
    option42: nothing,
    servers: everyServer,
    set: [named],
    announced: [/^clock set by 127\.0\.0\.3: it was \d+ s slow$/],
  },
  {
    title: 'the time servers of ipam are named ones',
    commandLine: `${smee} ipam=08-00-27-00-00-01::127.0.0.1:8:::127.0.0.1::127.0.0.3`,
    option42: '127.0.0.3', // where the network scripts keep them
    servers: everyServer,
    set: [named],
    announced: [/^clock set by 127\.0\.0\.3: /],
  },
  {
    title: "with smee's own arguments it is the HTTP server beside its gRPC port",
    commandLine: smee,
    servers: everyServer,
    set: [web],
    announced: [/^clock set by http:\/\/127\.0\.0\.4:7080: it was \d+ s slow$/],
  },
  {
    title: 'the certificate URL of old servers names a server that sends the date',
    commandLine: 'grpc_cert_url=http://127.0.0.4:42114/cert grpc_authority=127.0.0.8:42113',
    servers: [`http,127.0.0.4,42114,${web}`],
    set: [web],
    announced: [/^clock set by http:\/\/127\.0\.0\.4:42114\/cert: /],
  },
  {
    title: 'a registry sends it over TLS, with any certificate, even without access',
    commandLine: 'docker_registry=127.0.0.5:5443/project grpc_authority=127.0.0.8:42113',
    servers: [`https,127.0.0.5,5443,${web}`],
    set: [web],
    announced: [/^clock set by https:\/\/127\.0\.0\.5:5443: /],
  },
  {
    title: 'the public time servers come last',
    commandLine: `grpc_authority=${nothing}:42113 docker_registry=${nothing}`,
    servers: everyServer,
    set: [publicTime],
    announced: [
      /^(?:no time source has answered yet.*|clock set by pool\.ntp\.org: .*)$/,
      /^clock set by pool\.ntp\.org: /,
    ],
  },
  {
    title: 'no server makes it earlier than the image',
    commandLine: `${smee} ntp_servers=127.0.0.3`,
    servers: [`ntp,127.0.0.3,123,${made - 86400}`, `http,127.0.0.4,7080,${web}`],
    set: [web],
    announced: [
      /^the time of 127\.0\.0\.3, 2025-12-31 00:00:00 UTC, is before the time of this image: ignored$/,
      /^clock set by http:/,
    ],
  },
  {
    title: 'a server that sends without end takes no memory: the shell has 64 MiB',
    commandLine: smee,
    servers: [`endless,127.0.0.4,7080,${web}`],
    set: [web],
    announced: [/^clock set by http:\/\/127\.0\.0\.4:7080: /],
  },
  {
    title: 'a date with other text around it is none',
    commandLine: smee,
    servers: [`misdated,127.0.0.4,7080,${web}`, `http,127.0.0.4,7171,${web + 60}`],
    set: [web + 60],
    announced: [/^clock set by http:\/\/127\.0\.0\.4:7171: /],
  },
  {
    title: 'no server makes it later than twenty years after the image',
    commandLine: `${smee} ntp_servers=127.0.0.3`,
    servers: [`http,127.0.0.4,7080,${made + 30 * 366 * 86400}`, `http,127.0.0.4,7171,${web}`],
    set: [web],
    announced: [
      /^the time of http:\/\/127\.0\.0\.4:7080, 20\d\d-.* UTC, is more than 20 years after the time of this image: ignored$/,
    ],
  },
  {
    title: 'a clock that is right within a minute is not set by a web server',
    commandLine: smee,
    servers: [`http,127.0.0.4,7080,${web + 40}`],
    clock: web,
    set: [],
    announced: [],
  },
  {
    title: 'a clock that is fast is set back',
    commandLine: smee,
    servers: [`http,127.0.0.4,7080,${web}`],
    clock: Date.UTC(2037, 0, 1) / 1000,
    set: [web],
    announced: [/^clock set by http:\/\/127\.0\.0\.4:7080: it was \d+ s fast$/],
  },
];

describe('the clock', { concurrency: 4 }, () => {
  for (const one of cases) {
    test(one.title, async (t) => {
      const { set, announced } = await setClock(t, one);
      deepEqual(set, one.set);
      for (const pattern of one.announced)
        ok(
          announced.some((line) => pattern.test(line)),
          announced.join('\n'),
        );
      equal(announced.filter((line) => line.startsWith('clock set')).length, one.set.length);
    });
  }

  test('without an answer the machine goes on; a later answer corrects the clock', async (t) => {
    const { announced, set, goneOnAfterSeconds } = await setClock(t, {
      commandLine: `grpc_authority=${nothing}:42113 docker_registry=${nothing} ntp_servers=${nothing} packet_base_url=http://${nothing}/`,
      option42: `${nothing} 10.255.255.2`,
      servers: [`ntp,${pool},123,${publicTime}`],
      serversStartLater: true,
    });
    match(announced[0] ?? '', /^no time source has answered yet, continuing at 2026-01-02 00:00:0\d UTC$/);
    match(announced.at(-1) ?? '', /^clock set by pool\.ntp\.org: it was \d+ s slow$/);
    deepEqual(set, [publicTime]);
    ok(goneOnAfterSeconds < 10, `it went on after ${goneOnAfterSeconds} s`);
  });
});

interface Outcome {
  readonly announced: readonly string[];
  readonly set: readonly number[];
  readonly goneOnAfterSeconds: number;
}

/** Runs set_clock and waits for the first answer. */
async function setClock(
  t: TestContext,
  {
    commandLine = '',
    option42 = '',
    clock = made + 86400,
    serversStartLater = false,
    ...other
  }: Pick<Case, 'commandLine' | 'option42' | 'clock' | 'servers'> & { readonly serversStartLater?: boolean },
): Promise<Outcome> {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-clock-'));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, 'cmdline'), `${commandLine}\n`);
  await writeFile(join(directory, 'clock'), `${clock}\n`);
  await writeFile(join(directory, 'set'), '');
  await writeFile(join(directory, 'hosts'), `127.0.0.1 localhost\n${pool} pool.ntp.org\n`);
  await writeFile(join(directory, 'made'), `${made}\n`);
  await writeFile(join(directory, 'time-servers'), `${option42}\n`);
  const startServers = `${process.execPath} ${servers} ${other.servers.join(' ')} >${directory}/ready & serving=$!; until grep -q ready ${directory}/ready; do sleep 0.1; done`;
  const script = `
    ip link set lo up
    ip tuntap add dev hole mode tap; ip link set hole up; ip address add 10.255.255.254/24 dev hole
    ip neighbour add ${nothing} lladdr 02:00:00:00:00:01 dev hole; ip neighbour add 10.255.255.2 lladdr 02:00:00:00:00:02 dev hole
    mount --bind ${directory}/cmdline /proc/cmdline
    mount --bind ${directory}/hosts /etc/hosts
    [ ! -e /etc/services ] || mount --bind /dev/null /etc/services # the image has none
    mount -t tmpfs tmpfs /run
    mkdir -p /run/nibs
    cp ${directory}/time-servers /run/nibs/ntp-servers
    : >${directory}/ready
    ${serversStartLater ? '' : startServers}
    (ulimit -v 65536 # KiB
    TZ=UTC exec ${busybox} sh -c '
      . ${library}/functions; . ${library}/clock
      announce() { echo "$*"; }
      now() { cat ${directory}/clock; }
      set_time() { echo "$1" >${directory}/clock; echo "$1" >>${directory}/set; }
      rdate=${packages}/usr/sbin/rdate
      head_start=100 # the first server asked answers first, even on a slow host
      earliest_time() { cat ${directory}/made; }
      read -r before _ </proc/uptime
      set_clock
      read -r after _ </proc/uptime
      echo "went on: $before $after"
      : >${directory}/went-on
      until [ -e /run/nibs/clock ]; do sleep 0.1; done
      wait') &
    running=$!
    ${serversStartLater ? `until [ -e ${directory}/went-on ]; do sleep 0.1; done; ${startServers}` : ''}
    wait $running
    kill $serving`;
  const { stdout } = await execa(
    'setpriv',
    [
      ...['--bounding-set=-sys_time', '--inh-caps=-sys_time', 'unshare'],
      '--net',
      '--mount',
      '--pid',
      '--fork',
      '--kill-child',
      '--mount-proc',
      'sh',
      '-c',
      script,
    ],
    { cancelSignal: t.signal },
  );
  const lines = stdout.split('\n');
  const [, before, after] = /^went on: (\S+) (\S+)$/m.exec(stdout) ?? [];
  return {
    announced: lines.filter((line) => line !== '' && !line.startsWith('went on')),
    set: (await readFile(join(directory, 'set'), 'utf8'))
      .split('\n')
      .filter((line) => line !== '')
      .map(Number),
    goneOnAfterSeconds: Number(after) - Number(before),
  };
}
