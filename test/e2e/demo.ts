/**
 * From power-on to first boot: a virtual machine netboots into our boot image, fetches its workflow
 * from a tink server, runs the actions as containers, has an operating system on its disk, reboots,
 * and lets the key of its configuration log in.
 *
 *     node test/e2e/demo.ts [--template blog|seed|standard|image2disk] [--firmware bios|uefi] \
 *       [--dialect v0.1|v0.2|v0.7|v0.9|current] [--finish reboot|kexec] [--memory MIB]
 *
 * `DEMO_JSON=path` also writes what happened as JSON. Needs root; what it installs and boots must
 * have been built (`make demo` does).
 */
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';
import { z } from 'zod';
import { createSandboxNetwork } from '../sandbox/network.ts';
import { SERVER_DIALECTS } from '../sandbox/tink-server/server.ts';
import { blogWorkflow } from '../sandbox/workflows/blog.ts';
import { seedWorkflow } from '../sandbox/workflows/seed.ts';
import { standardWorkflow } from '../sandbox/workflows/standard.ts';
import { removeDisks } from './disks.ts';
import { showDisks, showEvents, showPhases, showSizes } from './report.ts';
import { type DemoResult, runScenario } from './scenario.ts';

const root = resolve(import.meta.dirname, '../..');
const directory = join(root, 'build/demo');
/** Of the run before: what went wrong in it can still be read when the next one is over. */
const previousDirectory = join(root, 'build/demo.previous');
const address = '192.168.1.1';

const { values: options } = parseArgs({
  options: {
    template: { type: 'string', default: 'blog' },
    firmware: { type: 'string', default: 'bios' },
    dialect: { type: 'string' },
    finish: { type: 'string' },
    /** Of the machine, in MiB. */
    memory: { type: 'string', default: '2048' },
    /**
     * Set when this program runs itself inside the network namespace, to the device the machine is
     * plugged into.
     */
    'inside-with-tap': { type: 'string' },
  },
});

const { workflow, dialect, firmware, finish, memoryMiB } = readOptions();

process.exitCode = options['inside-with-tap'] === undefined ? await main() : await inside(options['inside-with-tap']);

/** @throws {Error} for a combination that cannot be */
function readOptions() {
  const { template, firmware, dialect, finish, memory } = z
    .object({
      template: z.enum(['blog', 'seed', 'standard', 'image2disk']),
      firmware: z.enum(['bios', 'uefi']),
      dialect: z.enum(SERVER_DIALECTS).optional(),
      finish: z.enum(['reboot', 'kexec']).optional(),
      memory: z.coerce.number().int().positive(),
    })
    .parse(options);
  const workflow = {
    blog: () => blogWorkflow(finish ?? 'reboot'),
    seed: seedWorkflow,
    standard: () => standardWorkflow('original'),
    image2disk: () => standardWorkflow('ours'),
  }[template]();
  if (dialect !== undefined && !workflow.dialects.includes(dialect)) {
    throw new Error(`--template ${template} is for servers of ${workflow.dialects.join(', ')}, not ${dialect}`);
  }
  if (finish !== undefined && workflow.restartedBy !== 'agent') {
    throw new Error(
      `--template ${template} has no --finish: the machine is restarted by ${workflow.restartedBy === 'person' ? 'a person' : 'its last action'}`,
    );
  }
  return { workflow, dialect: dialect ?? workflow.dialects[0], firmware, finish, memoryMiB: memory };
}

/**
 * Makes the network and runs the story in it: inside, provisioner and machine have the addresses of
 * the original, whatever this machine's network is.
 */
async function main(): Promise<number> {
  if (process.getuid?.() !== 0) {
    process.stderr.write('error: the demo makes a network namespace, which needs root; run it as root\n');
    return 1;
  }
  await keepLogs();
  await using network = await createSandboxNetwork({ name: 'nibs-demo', address: `${address}/29` });
  const tap = await network.addTap();
  const story = execa(
    'ip',
    [
      'netns',
      'exec',
      network.namespace,
      process.execPath,
      import.meta.filename,
      ...process.argv.slice(2),
      '--inside-with-tap',
      tap,
    ],
    { stdio: 'inherit', reject: false },
  );
  const stop = (signal: NodeJS.Signals) => story.kill(signal);
  process.on('SIGINT', stop).on('SIGTERM', stop);
  const { exitCode } = await story;
  return exitCode ?? 1;
}

/** Makes the directory anew. */
async function keepLogs(): Promise<void> {
  await mkdir(directory, { recursive: true });
  await removeDisks(directory);
  await rm(previousDirectory, { recursive: true, force: true });
  await rename(directory, previousDirectory);
  await mkdir(directory);
}

async function inside(tap: string): Promise<number> {
  const stop = new AbortController();
  process.on('SIGINT', () => stop.abort(new Error('interrupted')));
  process.on('SIGTERM', () => stop.abort(new Error('ended by SIGTERM')));
  const result = await runScenario({
    root,
    directory,
    address,
    tap,
    firmware,
    memoryMiB,
    dialect,
    workflow,
    withoutReset: finish === 'kexec',
    signal: stop.signal,
  });
  await show(result);
  if (result.error === undefined) {
    await removeDisks(directory);
    return 0;
  }
  process.stderr.write(`\nerror: ${result.error.message}\n`);
  return 1;
}

async function show(result: DemoResult): Promise<void> {
  process.stdout.write(
    showEvents(result.events) + showDisks(result.disks) + showPhases(result) + showSizes(result.sizes),
  );
  if (result.login !== undefined)
    process.stdout.write(`\n$ ssh core@${result.login.address}\n${result.login.output}\n`);
  const path = process.env['DEMO_JSON'];
  if (path === undefined || path === '') return;
  const { seconds, phases, disks, events, sizes } = result;
  await writeFile(path, `${JSON.stringify({ seconds, phases, disks, events, sizes }, undefined, 2)}\n`);
}
