/**
 * The boot image, emulated: `node test/bench/boot.ts` measures
 *
 * - first_answer: from the start of the kernel to the first call that the tink server answers; the
 *   rival is the same kernel with a bare busybox, DHCP and one HTTP request,
 * - ram_first_poll: memory in use then, as the agent reports it,
 * - size_x86_64 and, if they have been built, size_aarch64: kernel and initramfs,
 *
 * and prints the phases of the start. Seconds are the machine's own, which counts instructions: a
 * busy host makes no difference. With BENCH_JSON=path the figures are also written there as rows.
 */
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, mkdtempDisposable, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { zstdCompress } from 'node:zlib';
import { cpio } from '../../initramfs/cpio.ts';
import { selectModules, stageModules } from '../../initramfs/modules.ts';
import { fetchSystem } from '../../initramfs/system.ts';
import { Tree } from '../../initramfs/tree.ts';
import type { MachineCard } from '../sandbox/machine.ts';
import { startMachine } from '../sandbox/machine.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';
import { startTinkServer } from '../sandbox/tink-server/server.ts';
import { alone, type Row, writeRows } from './rows.ts';

const build = resolve(import.meta.dirname, '../../build');
const kernel = join(build, 'vmlinuz-x86_64');
const initramfs = join(build, 'initramfs-x86_64');
const mac = '08:00:27:00:00:01';
const cards: MachineCard[] = [{ mac, network: { kind: 'user', reachesHost: true } }];

await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-bench-boot-'));
const ours = await measureBootImage();
const busyboxSeconds = await measureBusybox();
const sizes = await Promise.all(['x86_64', 'aarch64'].map(sizeOf));
const firstAnswer: Row = {
  ...{ bench: 'boot', metric: 'first_answer', unit: 's', ours: ours.answerSeconds },
  ...{ rival: 'busybox', rivalValue: busyboxSeconds, ratio: ours.answerSeconds / busyboxSeconds },
};
for (const [phase, seconds] of ours.phases) process.stdout.write(`${seconds.toFixed(1).padStart(6)} s  ${phase}\n`);
process.stdout.write(
  `first answer: ${ours.answerSeconds.toFixed(1)} s, busybox ${busyboxSeconds.toFixed(1)} s\n` +
    `memory in use: ${(ours.memoryBytes / 2 ** 20).toFixed(0)} MiB\n` +
    sizes
      .flat()
      .map(({ metric, ours: bytes }) => `${metric}: ${(bytes / 1e6).toFixed(1)} MB\n`)
      .join(''),
);
await writeRows([firstAnswer, alone('boot', 'ram_first_poll', 'bytes', ours.memoryBytes), ...sizes.flat()]);

/** Kernel and initramfs of an architecture; none if it has not been built. */
async function sizeOf(architecture: string): Promise<Row[]> {
  const paths = ['vmlinuz', 'initramfs'].map((name) => join(build, `${name}-${architecture}`));
  if (!paths.every(existsSync)) return [];
  const files = await Promise.all(paths.map(async (path) => await stat(path)));
  return [
    alone(
      'boot',
      `size_${architecture}`,
      'bytes',
      files.reduce((sum, { size }) => sum + size, 0),
    ),
  ];
}

interface Measured {
  readonly answerSeconds: number;
  readonly memoryBytes: number;
  /** What the boot image announces, with the machine's uptime. */
  readonly phases: readonly (readonly [phase: string, seconds: number])[];
}

async function measureBootImage(): Promise<Measured> {
  // A server that answers each poll at once.
  await using server = await startTinkServer({ dialect: 'v0.9', address: '127.0.0.1' });
  const port = server.authority.split(':').at(-1);
  await using web = await startWebServer();
  const settings = `grpc_authority=10.0.2.2:${port} tinkerbell_tls=false worker_id=${mac} packet_base_url=${web.url} nibs_shell`;
  const commandLine = `console=ttyS0 quiet ${settings}`;
  await using machine = await startMachine({
    ...{ name: 'boot-image', directory: scratch.path, cards, cpus: 1, acceleration: 'tcg' },
    boot: { kind: 'kernel', kernel, initramfs, commandLine },
  });
  const line = (pattern: RegExp) =>
    whileProgressing(machine, {}, (signal) => machine.console.waitForLine(pattern, { signal }));
  await line(/nibs: network up/);
  machine.type('\n'); // opens the shell
  const answer = await line(/"memoryUsedKiB":\d+/);
  machine.type('read -r up _ < /proc/uptime; echo "answered"" at $up"\n');
  const answered = await line(/answered at [\d.]+/);
  await line(/nibs: engine ready/);
  return {
    answerSeconds: numberIn(answered.text),
    memoryBytes: Number(answer.text.match(/"memoryUsedKiB":(\d+)/)?.[1]) * 1024,
    phases: machine.console.lines.flatMap(({ text }) => {
      const [, phase, seconds] = text.match(/nibs: (.+) \(([\d.]+) s\)/) ?? [];
      return phase === undefined ? [] : [[phase, Number(seconds)] as const];
    }),
  };
}

/** @returns seconds of uptime when the answer had been read */
async function measureBusybox(): Promise<number> {
  await using web = await startWebServer();
  const path = join(scratch.path, 'busybox.initramfs');
  await writeFile(path, await busyboxInitramfs(web.url));
  await using machine = await startMachine({
    ...{ name: 'busybox', directory: scratch.path, cards, cpus: 1, acceleration: 'tcg' },
    boot: { kind: 'kernel', kernel, initramfs: path, commandLine: 'console=ttyS0 quiet' },
  });
  const answered = await whileProgressing(machine, {}, (signal) =>
    machine.console.waitForLine(/answered at [\d.]+/, { signal }),
  );
  return numberIn(answered.text);
}

/** What every site has: the boot image takes the time from it. */
async function startWebServer(): Promise<AsyncDisposable & { readonly url: string }> {
  const web = createServer((_, response) => response.end('an answer\n')).listen(0, '127.0.0.1');
  await once(web, 'listening');
  const address = web.address();
  if (address === null || typeof address === 'string') throw new Error('the web server has no port');
  return {
    url: `http://10.0.2.2:${address.port}/`,
    async [Symbol.asyncDispose]() {
      web.closeAllConnections();
      web.close();
    },
  };
}

async function busyboxInitramfs(url: string): Promise<Uint8Array> {
  const cache = join(build, 'cache');
  const { packages, kernelVersion, tools, timeSeconds } = await fetchSystem(cache);
  const tree = new Tree();
  await tree.copy(join(packages, 'bin/busybox'), 'bin/busybox');
  for (const name of ['sh', 'mount', 'modprobe', 'ip', 'udhcpc', 'wget', 'sleep']) tree.link(`bin/${name}`, 'busybox');
  for (const name of ['proc', 'sys', 'dev']) tree.directory(name);
  const script = (text: string) => `#!/bin/sh\n${text}\n`;
  const lease = '[ "$1" = bound ] && ip addr add $ip/24 dev $interface && ip route add default via $router';
  tree.file('lease', script(lease), 0o755);
  const steps = [
    ...['mount -t proc proc /proc', 'mount -t sysfs sysfs /sys', 'modprobe virtio_net', 'ip link set eth0 up'],
    ...['udhcpc -q -n -i eth0 -s /lease', `wget -q -O /answer ${url}`],
    ...['read -r up _ < /proc/uptime; echo "answered at $up"', 'sleep 1000'],
  ];
  tree.file('init', script(steps.join('\n')), 0o755);
  const staging = await mkdtemp(join(cache, 'bench-boot-'));
  try {
    const from = join(packages, 'lib/modules', kernelVersion);
    const modules = await selectModules(from, ['drivers/net/virtio_net']);
    const staged = await stageModules(from, modules, staging, kernelVersion, tools);
    await tree.copy(staged, `lib/modules/${kernelVersion}`);
  } finally {
    await rm(staging, { recursive: true });
  }
  return promisify(zstdCompress)(cpio(tree, timeSeconds));
}

function numberIn(text: string): number {
  return Number(text.match(/[\d.]+/)?.[0]);
}
