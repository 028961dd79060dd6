import { basename } from 'node:path';
import { loadAgent, loadInstaller } from './bundles.ts';
import { ignoreNodeVariables } from './node-variables.ts';
import { version, versionLine } from './version.ts';

/** The programs in this one executable. */
const programs = {
  'tink-agent': async (args: readonly string[]) =>
    (await loadAgent()).main(args, { name: 'tink-agent', build: version }),
  'tink-worker': async (args: readonly string[]) =>
    (await loadAgent()).main(args, { name: 'tink-worker', build: version }),
  'flatcar-install': async (args: readonly string[]) => (await loadInstaller()).main(args, process.env),
  image2disk: async (args: readonly string[]) => (await loadInstaller()).image2disk(args, process.env),
  qemuimg2disk: async (args: readonly string[]) => (await loadInstaller()).image2disk(args, process.env),
  oci2disk: async (args: readonly string[]) => (await loadInstaller()).image2disk(args, process.env),
  'nibs-report': async (args: readonly string[]) => (await loadAgent()).report(args),
} as const;

type ProgramName = keyof typeof programs;

const usage = `Usage: ${Object.keys(programs).join(' | ')} [options]

This executable answers to several names: call it through a link of that name, or give the name as the first argument.
`;

/**
 * The program to run, and its arguments: by the name the executable was called, or else by its
 * first argument.
 */
function choose(calledAs: string, args: readonly string[]): { name: ProgramName; args: readonly string[] } | undefined {
  const isProgram = (name: string | undefined): name is ProgramName =>
    name !== undefined && Object.hasOwn(programs, name);
  if (isProgram(calledAs)) return { name: calledAs, args };
  const [first, ...rest] = args;
  return isProgram(first) ? { name: first, args: rest } : undefined;
}

async function run(): Promise<number> {
  ignoreNodeVariables();
  const args = process.argv.slice(2);
  const chosen = choose(basename(process.argv0), args);
  // Among other options it is a mistake, of which the program says so.
  if (args.includes('--version') && (chosen?.name !== 'flatcar-install' || chosen.args.length === 1)) {
    process.stdout.write(versionLine(chosen?.name ?? 'nibs'));
    return 0;
  }
  if (chosen === undefined) {
    const asked = args.includes('--help') || args.includes('-h');
    (asked ? process.stdout : process.stderr).write(usage);
    return asked ? 0 : 1;
  }
  return programs[chosen.name](chosen.args);
}

/** As sysexits.h: an internal error. */
const internalError = 70;

// A program goes on without a reader of its output: a closed terminal, `| head -1`, a full disk.
for (const stream of [process.stdout, process.stderr]) stream.on('error', () => {});

// Node would print it only after the handler of `exit` below, which ends the process.
process.on('uncaughtException', (error: unknown) => {
  process.exitCode = internalError;
  // The installer has a handler of its own while it works on a disk.
  if (process.listenerCount('uncaughtException') > 1) return;
  printInternalError(error);
  process.exit(internalError);
});

function printInternalError(error: unknown): void {
  process.stderr.write(
    `${basename(process.argv0)}: internal error: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`,
  );
}

// At its exit Node 24 sometimes loops in Environment::CleanupHandles after broken connections.
// Nothing is left to do by then.
process.once('exit', (code) => process.exit(code));

run().then(
  (code) => {
    // Unless an exception has set it.
    process.exitCode ??= code;
  },
  (error: unknown) => {
    printInternalError(error);
    process.exitCode = internalError;
  },
);
