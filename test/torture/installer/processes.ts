/** Runs of the program as a process, to be killed. */
import { mkdir, readdir, readFile, rmdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { pollUntil } from '../../sandbox/poll-until.ts';
import { type Ended, imagePath, type Machine, type Variant } from './machine.ts';

const program = join(import.meta.dirname, '../../../executable/main.ts');

function start(machine: Machine, variant: Variant, prefix: readonly string[] = []) {
  const command = machine.commandFor(variant);
  const [file, ...args] = [...prefix, process.execPath, program, command.program, ...command.args] as const;
  const env = { TMPDIR: machine.temporary, ...command.environment };
  return execa(file ?? '', args, { reject: false, env, all: true });
}

async function endOf(child: ReturnType<typeof start>): Promise<Ended> {
  const { exitCode, all } = await child;
  return { exitCode, output: typeof all === 'string' ? all : '' };
}

/** Kills it when the target has got as many operations as its fault `stop` says. */
export async function killAtOperation(machine: Machine, variant: Variant): Promise<Ended> {
  const child = start(machine, variant);
  await Promise.race([machine.disks.stopped, child]);
  return await kill(machine, child);
}

/** Kills it when so many bytes of the image are sent. */
export async function killAtByte(machine: Machine, variant: Variant, byte: number): Promise<Ended> {
  const reached = Promise.withResolvers<void>();
  machine.mirror.fail(imagePath(machine.releaseFor(variant)), {
    stallAfterBytes: byte,
    afterwards: () => reached.resolve(),
  });
  const child = start(machine, variant);
  await Promise.race([reached.promise, child]);
  return await kill(machine, child);
}

/** A tool that it had started goes on: the disk is at rest when that has ended, too. */
async function kill(machine: Machine, child: ReturnType<typeof start>): Promise<Ended> {
  const tools = child.pid === undefined ? [] : await childrenOf(child.pid);
  child.kill('SIGKILL');
  machine.disks.repair();
  const ended = await endOf(child);
  for (const pid of tools) await pollUntil(async () => !(await isRunning(pid)), `the end of the tool ${pid}`);
  return ended;
}

async function childrenOf(pid: number): Promise<number[]> {
  const threads = await readdir(`/proc/${pid}/task`).catch(() => []);
  const lists = threads.map((thread) => readFile(`/proc/${pid}/task/${thread}/children`, 'utf8').catch(() => ''));
  const pids = (await Promise.all(lists)).flatMap((list) => list.split(' ').filter((text) => text !== ''));
  const below = await Promise.all(pids.map((one) => childrenOf(Number(one))));
  return [...pids.map(Number), ...below.flat()];
}

async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '');
  return status !== '' && !/\) [ZX] /.test(status);
}

/** Runs it in a control group (version 1) that may use so much memory. */
export async function runWithMemory(machine: Machine, variant: Variant, limitBytes: number): Promise<Ended> {
  const group = `/sys/fs/cgroup/memory/nibs-torture-${process.pid}`;
  await mkdir(group, { recursive: true });
  try {
    await writeFile(join(group, 'memory.limit_in_bytes'), String(limitBytes));
    return await endOf(start(machine, variant, ['sh', '-c', `echo $$ >${group}/cgroup.procs && exec "$@"`, 'sh']));
  } finally {
    // A group has processes for a moment longer than they have an exit code.
    await pollUntil(
      async () => (await readFile(join(group, 'cgroup.procs'), 'utf8')) === '',
      'the end of what ran with little memory',
    );
    await rmdir(group);
  }
}
