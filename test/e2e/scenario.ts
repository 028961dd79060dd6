import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { type Machine, startMachine } from '../sandbox/machine.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';
import { type Provisioner, startProvisioner } from '../sandbox/provisioner.ts';
import type { SeedMachine } from '../sandbox/seed.ts';
import type { ServerDialect, TinkEvent } from '../sandbox/tink-server/server.ts';
import type { SandboxWorkflow } from '../sandbox/workflows/workflow.ts';
import { bytesWritten, checksum, createDisks, type DemoDisk } from './disks.ts';
import { type Phase, Story } from './phases.ts';

export interface DemoOptions {
  /** The repository. */
  readonly root: string;
  /** Takes disks and logs; exists and is empty. */
  readonly directory: string;
  /** The provisioner's, already on an interface of this network namespace. */
  readonly address: string;
  /** What the machine's card is plugged into. */
  readonly tap: string;
  readonly firmware: 'bios' | 'uefi';
  readonly memoryMiB: number;
  readonly dialect: ServerDialect;
  readonly workflow: SandboxWorkflow;
  /**
   * The machine must get to the installed system without a reset: its kernel is started by the boot
   * image's.
   */
  readonly withoutReset: boolean;
  readonly signal: AbortSignal;
}

export interface DiskResult extends DemoDisk {
  readonly chosen: boolean;
  /** By the machine, from power-on to the login. */
  readonly bytesWritten: number;
  readonly checksumBefore: string;
  readonly checksumAfter: string;
}

export interface Size {
  readonly what: string;
  readonly bytes: number;
}

export interface DemoResult {
  readonly seconds: number;
  readonly phases: readonly Phase[];
  readonly events: readonly TinkEvent[];
  readonly disks: readonly DiskResult[];
  readonly sizes: readonly Size[];
  readonly login?: { readonly address: string; readonly output: string };
  /** Absent: all of it held. */
  readonly error?: Error;
}

/**
 * The machine of the original: the address DHCP gives it, and the id under which the tink server
 * knows it.
 */
const machineOfTheSeed: SeedMachine = {
  id: 'ce2e62ed-826f-4485-a39f-a82bb74338e2',
  mac: '08:00:27:00:00:01',
  address: '192.168.1.5',
};

/**
 * Runs the whole story and never throws: what failed is in the result, with everything that was
 * seen until then.
 */
export async function runScenario(options: DemoOptions): Promise<DemoResult> {
  const story = new Story();
  const seen: Seen = { disks: [], sizes: [] };
  let error: Error | undefined;
  try {
    await tell(options, story, seen);
  } catch (caught) {
    error = caught instanceof Error ? caught : new Error(String(caught));
  }
  return {
    seconds: story.seconds,
    phases: story.phases,
    events: seen.provisioner?.events() ?? [],
    disks: seen.disks,
    sizes: seen.sizes,
    ...(seen.login === undefined ? {} : { login: seen.login }),
    ...(error === undefined ? {} : { error }),
  };
}

type Seen = { provisioner?: Provisioner; disks: DiskResult[]; sizes: Size[]; login?: DemoResult['login'] };

async function tell(options: DemoOptions, story: Story, seen: Seen): Promise<void> {
  const { directory, workflow } = options;
  const log = (name: string) => join(directory, name);
  seen.sizes.push(...(await artifactSizes(options.root)));

  const disks = await createDisks(directory);
  const before = await Promise.all(disks.map(checksum));
  await using provisioner = await story.phase(
    'provisioner: registry, tink server, DHCP, mirror',
    log('provisioner.log'),
    () => startProvisioner({ ...options, machine: machineOfTheSeed }),
  );
  seen.provisioner = provisioner;

  const poweredOnAt = performance.now();
  await using machines = new AsyncDisposableStack();
  const machine = machines.use(await powerOn('machine', options, disks));
  await runWorkflow(machine, provisioner, options, story, seen);
  const writtenBefore = await bytesWritten(machine);
  const again = await restart(machine, provisioner, options, disks, story);
  const booted = again === undefined ? machine : machines.use(again);
  await whileItRuns(booted, 'first boot from disk, with Ignition', options, story, (signal) =>
    booted.console.waitForLine(/nibs sandbox OS ready .+ \(ssh\)/, { signal }),
  );
  if (options.withoutReset) refuseReset(machine);
  if (workflow.restartedBy === 'action') refuseSecondRestart(provisioner);
  const logIn = (signal: AbortSignal) => login(directory, provisioner.loginKeyPath, signal);
  seen.login = await whileItRuns(booted, 'ssh login as core', options, story, logIn, log('ssh.log'));
  await story.phase('exactly the smallest disk that fits was written', log('machine.console.log'), async () => {
    const after = await Promise.all(disks.map(checksum));
    const written = sum(await bytesWritten(booted), again === undefined ? [] : writtenBefore);
    seen.disks.push(
      ...disks.map((disk, position) => compare(disk, before[position], after[position], written[position])),
    );
    refuseWrongDisks(seen.disks);
  });
  process.stdout.write(`from power-on to the login: ${((performance.now() - poweredOnAt) / 1000).toFixed(1)} s\n`);
}

/** From power-on to the success of the last action, as the server has it. */
async function runWorkflow(
  machine: Machine,
  provisioner: Provisioner,
  options: DemoOptions,
  story: Story,
  seen: Seen,
): Promise<void> {
  const { workflow } = options;
  const phase = (name: string, wait: (signal: AbortSignal) => Promise<void>) =>
    whileItRuns(machine, name, options, story, wait);
  await phase('power-on, PXE: kernel and initramfs are loaded', (signal) =>
    provisioner.waitForDownload('initramfs-x86_64', signal),
  );
  await phase('boot image: network, engine, first poll of the agent', async (signal) => {
    await provisioner.waitForPoll(signal);
    seen.sizes.push({ what: 'RAM used at the first poll', bytes: await memoryUsed(machine, signal) });
  });
  for (const action of workflow.actions) {
    await phase(`action ${action}`, (signal) => provisioner.waitForSuccess(action, signal));
  }
  if (workflow.restartedBy === 'action') refuseReset(machine);
}

/**
 * @returns the machine after a person has switched it off and on; undefined where the machine
 *   restarts without a person
 */
async function restart(
  machine: Machine,
  provisioner: Provisioner,
  options: DemoOptions,
  disks: readonly DemoDisk[],
  story: Story,
): Promise<Machine | undefined> {
  const { workflow, withoutReset } = options;
  if (workflow.restartedBy !== 'person') {
    const name =
      workflow.restartedBy === 'agent' ? 'the machine reboots by itself' : 'the last action reboots the machine';
    if (!withoutReset) {
      await whileItRuns(machine, name, options, story, (signal) => machine.monitor.waitForEvent('RESET', { signal }));
    }
    return undefined;
  }
  await story.phase('the machine is switched off', machine.consoleLog, async () => machine[Symbol.asyncDispose]());
  const [target] = disks.filter(({ role }) => role === 'smallest that fits');
  const { checkDisk } = provisioner;
  if (checkDisk !== undefined && target !== undefined) {
    await story.phase('the config on the disk is the one of the workflow, byte for byte', machine.consoleLog, () =>
      checkDisk(target.path),
    );
  }
  return await powerOn('machine-again', options, disks);
}

function powerOn(name: string, options: DemoOptions, disks: readonly DemoDisk[]): Promise<Machine> {
  return startMachine({
    name,
    directory: options.directory,
    boot: { kind: 'firmware', order: ['network', 'disks'] },
    firmware: options.firmware,
    memoryMiB: options.memoryMiB,
    disks: disks.map(({ path, serial, role }) => ({ path, serial, bootFirst: role === 'smallest that fits' })),
    cards: [{ mac: machineOfTheSeed.mac, network: { kind: 'tap', interface: options.tap } }],
    signal: options.signal,
  });
}

function refuseReset({ monitor }: Machine): void {
  if (monitor.events.some(({ name }) => name === 'RESET'))
    throw new Error('the machine was reset when it had to go on');
}

/** Not counted by resets: SeaBIOS answers a warm one with another of its own. */
function refuseSecondRestart(provisioner: Provisioner): void {
  const restarts = provisioner.boots() - 1;
  if (restarts !== 1) throw new Error(`the machine restarted ${restarts} times, not once`);
}

function sum(some: readonly number[], others: readonly number[]): number[] {
  return some.map((bytes, position) => bytes + (others[position] ?? 0));
}

/** A phase in which the machine works; it fails when the machine has ended or makes no progress. */
function whileItRuns<T>(
  machine: Machine,
  name: string,
  { tap, signal }: DemoOptions,
  story: Story,
  wait: (signal: AbortSignal) => Promise<T>,
  logPath = machine.consoleLog,
): Promise<T> {
  const onSlow = (waitedShare: number) =>
    story.note(
      `this host is busy: the machine waits ${Math.round(waitedShare * 100)} % of the time for a processor; the demo goes on as long as there is progress`,
    );
  return story.phase(name, logPath, () => whileProgressing(machine, { tap, signal, onSlow }, wait));
}

/** What the agent says on the console at the server's first answer. */
async function memoryUsed(machine: Machine, signal: AbortSignal): Promise<number> {
  const line = await machine.console.waitForLine(/"memoryUsedKiB":\d+/, { signal });
  return Number(/"memoryUsedKiB":(\d+)/.exec(line.text)?.[1]) * 1024;
}

/** One attempt: the system has said that it is ready. */
async function login(
  directory: string,
  key: string,
  signal: AbortSignal,
): Promise<{ address: string; output: string }> {
  const known = ['-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', '-o', 'BatchMode=yes'];
  const sshOptions = ['-E', join(directory, 'ssh.log'), '-i', key];
  const command = 'id -un; grep PRETTY_NAME /etc/os-release; findmnt --noheadings --output SOURCE,FSTYPE /; uptime';
  const { stdout } = await execa('ssh', [...known, ...sshOptions, `core@${machineOfTheSeed.address}`, command], {
    cancelSignal: signal,
  });
  if (stdout.split('\n')[0] !== 'core') throw new Error(`logged in, but not as core: ${stdout}`);
  return { address: machineOfTheSeed.address, output: stdout };
}

function compare(disk: DemoDisk, before = '', after = '', written = 0): DiskResult {
  return { ...disk, chosen: before !== after, bytesWritten: written, checksumBefore: before, checksumAfter: after };
}

function refuseWrongDisks(disks: readonly DiskResult[]): void {
  for (const disk of disks) {
    const mustBeChosen = disk.role === 'smallest that fits';
    if (disk.chosen !== mustBeChosen || disk.bytesWritten > 0 !== mustBeChosen) {
      throw new Error(
        `disk ${disk.serial} (${disk.role}) was ${disk.bytesWritten > 0 ? 'written to' : 'not written to'}`,
      );
    }
  }
}

async function artifactSizes(root: string): Promise<Size[]> {
  const artifacts = {
    'executable (agent and installer)': `build/nibs-linux-${process.arch}`,
    kernel: 'build/vmlinuz-x86_64',
    initramfs: 'build/initramfs-x86_64',
    'action image flatcar-install': 'build/flatcar-install.oci.tar',
  };
  return Promise.all(
    Object.entries(artifacts).map(async ([what, path]) => ({ what, bytes: (await stat(join(root, path))).size })),
  );
}
