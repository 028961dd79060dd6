import { equal, match, ok } from 'node:assert/strict';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { appendFile, copyFile, mkdtemp, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { findBootImage } from '../../initramfs/boot-media/boot-image.ts';
import { fetchBootLoaders } from '../../initramfs/boot-media/boot-loaders.ts';
import { writeIso } from '../../initramfs/boot-media/iso.ts';
import { fetchMediaTools } from '../../initramfs/boot-media/media-tools.ts';
import { fetchSystem } from '../../initramfs/system.ts';
import { engineOfImage } from '../boot/engine-of-image.ts';
import { embeddedImage, fileContent, makeSecondInitramfs } from '../boot/second-initramfs.ts';
import type { ConsoleLine } from '../sandbox/console.ts';
import { type Machine, type MachineOptions, startMachine } from '../sandbox/machine.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';
import { serveAsSmee } from '../sandbox/smee-iso.ts';

const build = resolve(import.meta.dirname, '../../build');

/** No server answers at this address: the agent must start anyway, and keep trying. */
const settings =
  'worker_id=ce2e62ed-826f-4485-a39f-a82bb74338e2 grpc_authority=10.0.2.99:42113 docker_registry=10.0.2.99';

test('the boot image finds disks and network, sets its clock, trusts the registry, starts engine and agent, shows what it does, and ends at the power button', {
  timeout: 3_600_000,
}, async () => {
  await using scratch = await makeScratch();
  await using web = await startWebServer({ '/workflow/ca.pem': '-----BEGIN CERTIFICATE-----\n' });
  const disks = (['virtio', 'sata', 'scsi', 'nvme'] as const).map((bus) => ({
    bus,
    path: join(scratch.directory, bus),
  }));
  for (const { path } of disks) {
    await writeFile(path, '');
    await truncate(path, 64 * 1024 * 1024);
  }
  const startedAt = Date.now();
  const second = await makeSecondInitramfs(scratch.directory);
  await using machine = await boot(scratch.directory, {
    secondInitramfs: second.path,
    commandLine: `${settings} packet_base_url=http://10.0.2.2:${web.port}/workflow BOOTIF=01-08-00-27-00-00-02 modules=nbd,none blacklist=qemu_fw_cfg other_token=c4n4ry nibs_shell`,
    disks,
    clock: '2037-01-01T00:00:00',
    watchdog: true,
    screen: true,
    cards: [
      { mac: '08:00:27:00:00:01', model: 'e1000e', network: { kind: 'user' } },
      { mac: '08:00:27:00:00:02', model: 'virtio-net-pci', network: { kind: 'user', reachesHost: true } },
    ],
  });
  const phases = [
    'init',
    'drivers loaded',
    'network up 10.0.2.15 on',
    'clock set by http',
    'registry 10.0.2.99: trusting',
  ];
  phases.push('agent starts', 'engine ready');
  await Promise.all(phases.map((phase) => waitForLine(machine, new RegExp(`nibs: ${phase}.*s\\)`))));

  const shell = openShell(machine);
  match(await shell('ls /dev/vda /dev/sda /dev/sdb /dev/nvme0n1 && echo all'), /all/);
  match(await shell('ls /dev/disk/by-path | wc -l; ls /dev/disk/by-id'), /[4-9].* nvme-/);
  match(await shell('ls /run/udev/data | grep -c ^b'), /[1-9]/, 'what udev knows of disks, for actions');
  match(await shell('ls /dev/nbd0 /dev/net/tun && echo both'), /both/);
  match(
    await shell('grep -c -e ^nbd -e ^qemu_fw_cfg /proc/modules; cat /var/log/nibs'),
    /^1 .*the module none of modules= cannot/s,
  );
  match(await shell('awk \'$2 == "/" { print $3 }\' /proc/mounts | tail -n 1'), /overlay/);
  match(await shell('test -S /var/run/docker.sock && ls -d /statedir /worker /var/lib/nibs'), /\/var\/lib\/nibs/);
  const card = (
    await shell('cat /sys/class/net/$(ip route show default | head -n 1 | sed "s/.* dev //; s/ .*//")/address')
  ).trim();
  equal(card, '08:00:27:00:00:02', 'the card of BOOTIF is the way out');
  match(await shell('cat /etc/docker/certs.d/10.0.2.99/ca.crt'), /BEGIN CERTIFICATE/);
  // Set while it ran, not as it was at the start. An emulated machine's clock goes slow when the
  // host is busy.
  const clockSeconds = Number.parseInt(await shell('date +%s'), 10);
  ok(clockSeconds > startedAt / 1000 - 60 && clockSeconds < Date.now() / 1000 + 60, 'the clock is right');
  match(await shell('pidof watchdog > /dev/null && echo fed'), /fed/);
  // The agent's status is for the machine itself.
  const listening = `awk '$4 == "0A" && $2 != "0100007F:A483"' /proc/net/tcp /proc/net/tcp6`;
  // DHCP clients, and sockets of requests.
  const receiving = `awk '$4 == "07" && $2 !~ /:(0044|0222|[4-F]...)$/' /proc/net/udp /proc/net/udp6`;
  equal(await shell(`${listening}; ${receiving}`), '', 'it listens on no port of the network');
  await shell('while ls /site/images/* 2>/dev/null; do sleep 0.1; done');
  match(
    await shell(
      `cat /etc/site-file; grep -cF '${second.certificateLine}' /etc/ssl/certs/ca-certificates.crt; cat /var/log/tink-agent`,
    ),
    new RegExp(`^${fileContent} 1 .*images loaded in .*${embeddedImage}`),
    'what the second initramfs adds',
  );
  match(await shell('flatcar-install -h > /dev/null && echo installs'), /installs/);
  match(await shell('kexec --version'), /kexec-tools/);
  match(
    await shell('nibs-report >/tmp/report; grep -c ^===./var/log/nibs /tmp/report; grep -c c4n4ry /tmp/report'),
    /^1 0 /,
    'the report has the log, and no secret of the kernel command line',
  );

  match(
    await shell('until grep -q 10.0.2.99 /dev/vcs2; do sleep 0.1; done; cat /dev/vcs2'),
    /nibs .* on ce2e62ed-.* addresses .*eth\d 10\.0\.2\.15.* server +10\.0\.2\.99:42113 .* action +waiting for the server/,
    'the view on the screen',
  );
  await shell('echo "<3>said by the kernel" > /dev/kmsg');
  match(await shell('grep -c "said by the kernel" /dev/vcs1 /dev/vcs2'), /vcs1:1 .*vcs2:0/);
  match(await shell('cat /sys/class/tty/tty0/active'), /tty2/, 'the view is in front');

  const killed = await waitForLine(machine, /nibs: agent starts/);
  machine.type('kill -9 $(pidof tink-agent)\n');
  await waitForLine(machine, /nibs: agent exited with status 137, restarting it in 1 s/, killed);
  await shell('until pidof tink-agent; do sleep 0.1; done');

  const restarted = await waitForLine(machine, /nibs: agent exited with status 137/, killed);
  machine.type('kill -9 $(pidof provision)\n');
  await waitForLine(machine, /nibs: agent starts/, restarted);
  equal((await shell('until pidof tink-agent > /dev/null; do sleep 0.1; done; pidof tink-agent | wc -w')).trim(), '1');
  const engine = { docker: 'dockerd', podman: 'podman' }[await engineOfImage()];
  const scores = `for name in tink-agent ${engine}; do cat /proc/$(pidof $name)/oom_score_adj; done`;
  equal((await shell(scores)).trim(), '-900 -900', 'an action is ended first when memory runs out');
  ok(Number(await shell('cat /proc/sys/vm/min_free_kbytes')) < 32 * 1024, 'memory is not kept for huge pages');
  if (engine === 'podman') {
    await shell('tar -cC / bin/busybox | docker import - own:1 && docker run --name own own:1 /bin/busybox echo hello');
    match(await shell('docker logs own; docker ps --all'), /hello\s.*\/own:1 .*Exited \(0\).*\sown\s/s);
  }

  await shell('until pidof acpid; do sleep 0.1; done');
  await machine.monitor.command('system_powerdown');
  await waitForLine(machine, /nibs: shutting down/);
  equal(await machine.exited, 0);
});

test('the boot image from the ISO image with Secure Boot, without a network and with a clock in 1970 gives engine and console, says what is missing, loads only signed kernels, and restarts after a panic', {
  timeout: 3_600_000,
}, async () => {
  await using scratch = await makeScratch(build); // the ISO image is made from links
  const iso = await makeIso(scratch.directory, `${settings} console=tty0 console=ttyS0 nibs_shell quiet`);
  await using machine = await startMachine({
    ...{ name: 'machine', directory: scratch.directory, firmware: 'secure-boot', endsOnReboot: true },
    boot: { kind: 'firmware', order: ['disks'] },
    disks: [{ bus: 'cd', path: iso }],
    clock: '1970-01-01T00:00:00',
    cpus: 1,
    cards: [],
  });
  await waitForLine(machine, /nibs: Secure Boot: the kernel is locked down/);
  await waitForLine(machine, /nibs: engine ready/);
  const shell = openShell(machine);
  const { timeSeconds } = await fetchSystem(join(build, 'cache'));
  ok(Number.parseInt(await shell('date +%s'), 10) >= timeSeconds, 'no certificate of today is valid at that time');
  await waitForLine(machine, /nibs: still no address: no network card/);

  const kexec = 'kexec --kexec-syscall-auto --command-line= --load';
  await shell('mount -r /dev/sr0 /mnt; cp /mnt/boot/vmlinuz-x86_64 /tmp/changed');
  await shell('printf changed | dd of=/tmp/changed bs=1 seek=9000000 conv=notrunc');
  match(await shell(`${kexec} /tmp/changed; cat /sys/kernel/kexec_loaded`), /0 $/, 'a changed kernel is refused');
  match(
    await shell(`${kexec} /mnt/boot/vmlinuz-x86_64; cat /sys/kernel/kexec_loaded`),
    /1 $/,
    'a signed one is loaded',
  );

  equal((await shell('cat /proc/sys/kernel/panic')).trim(), '10');
  // The kernel counts the seconds in a busy loop, which takes minutes in an emulated machine.
  await shell('echo -1 > /proc/sys/kernel/panic');
  machine.type('echo c > /proc/sysrq-trigger\n');
  equal(await machine.exited, 0, 'it restarts after a kernel panic');
});

/** The ISO image, as smee serves it. */
async function makeIso(directory: string, kernelArguments: string): Promise<string> {
  const cache = join(build, 'cache');
  const path = join(directory, 'nibs.iso');
  const image = await findBootImage(build, 'x86_64');
  const builtIn = { site: '', otherwise: '' };
  await writeIso(path, image, builtIn, await fetchBootLoaders(cache, 'amd64'), directory, await fetchMediaTools(cache));
  await writeFile(path, serveAsSmee(await readFile(path), kernelArguments, 2048));
  return path;
}

/** Serves `files` on the host's loopback, which the machine sees at 10.0.2.2. */
async function startWebServer(files: Record<string, string>): Promise<{ port: number } & AsyncDisposable> {
  const server = createServer((request, response) => {
    const content = files[request.url ?? ''];
    response.writeHead(content === undefined ? 404 : 200).end(content);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the web server has no port');
  return {
    port: address.port,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      server.close();
    },
  };
}

interface Scratch extends AsyncDisposable {
  readonly directory: string;
}

async function makeScratch(parent = tmpdir()): Promise<Scratch> {
  const directory = await mkdtemp(join(parent, 'nibs-boot-'));
  return { directory, [Symbol.asyncDispose]: () => rm(directory, { recursive: true }) };
}

async function boot(
  directory: string,
  {
    commandLine,
    secondInitramfs,
    ...options
  }: { commandLine: string; secondInitramfs?: string } & Partial<MachineOptions>,
): Promise<Machine> {
  const [kernel, initramfs] = [join(build, 'vmlinuz-x86_64'), join(build, 'initramfs-x86_64')];
  if (!existsSync(initramfs)) throw new Error(`${initramfs} is not there (make initramfs makes it)`);
  const both = join(directory, 'initramfs');
  await copyFile(initramfs, both);
  if (secondInitramfs !== undefined) await appendFile(both, await readFile(secondInitramfs));
  return await startMachine({
    name: 'machine',
    directory,
    boot: { kind: 'kernel', kernel, initramfs: both, commandLine: `console=tty0 console=ttyS0 ${commandLine}` },
    endsOnReboot: true,
    ...options,
  });
}

function waitForLine(machine: Machine, pattern: RegExp, after?: ConsoleLine): Promise<ConsoleLine> {
  return whileProgressing(machine, {}, (signal) =>
    machine.console.waitForLine(pattern, { signal, ...(after !== undefined && { after }) }),
  );
}

/**
 * Opens the shell on the serial console of a machine that is up. The function runs a command there
 * and returns what it printed, on one line.
 */
function openShell(machine: Machine): (command: string) => Promise<string> {
  machine.type('\n'); // "Please press Enter to activate this console."
  let count = 0;
  return async (command) => {
    count += 1;
    // Taken apart, so that the echo of what is typed is not taken for the answer; gathered, so that
    // other messages of the console fall between answers.
    machine.type(`answer=$({ ${command}; } 2>&1 | tr '\\n' ' '); echo "answer""${count}: $answer"\n`);
    const { text } = await waitForLine(machine, new RegExp(`answer${count}: `));
    return text.slice(text.indexOf(`answer${count}: `) + `answer${count}: `.length);
  };
}
