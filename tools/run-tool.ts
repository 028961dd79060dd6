import type { Readable } from 'node:stream';
import { OperationError } from '../errors/operation-error.ts';

export interface ToolOptions {
  readonly signal?: AbortSignal | undefined;
  /** The tool is killed after this long. `Infinity`: only the signal ends it. Default: 120. */
  readonly timeoutSeconds?: number;
  /** Exit codes that are not a failure. Default: only 0. */
  readonly acceptedExitCodes?: readonly number[];
  /** Where it runs. Default: the directory of this process. */
  readonly workingDirectory?: string;
  /** Variables besides those that every tool gets; `undefined` removes one. */
  readonly environment?: Readonly<Record<string, string | undefined>>;
  /** Its standard input. Default: empty. */
  readonly input?: Readable | string;
}

export interface ToolOutput {
  readonly exitCode: number;
  readonly stdout: string;
}

/**
 * A tool of the system is missing, failed, or did not end. `why` is its error output, in English,
 * or how it ended.
 */
export class ToolError extends OperationError {
  override readonly name: string = 'ToolError';
  readonly tool: string;
  readonly args: readonly string[];
  readonly stdout: string;
  readonly stderr: string;
  /** `exit code 1`, a signal, or the reason why there is neither. */
  readonly ending: string;
  readonly missing: boolean;

  constructor(tool: string, args: readonly string[], details: ToolErrorDetails) {
    const { why, hint, cause } = details;
    super({ what: 'run', target: `'${[tool, ...args].join(' ')}'`, why, hint, cause });
    this.tool = tool;
    this.args = args;
    this.stdout = details.stdout;
    this.stderr = details.stderr;
    this.ending = details.ending;
    this.missing = details.missing;
  }
}

interface ToolErrorDetails {
  readonly why: string;
  readonly hint?: string;
  readonly stdout: string;
  readonly stderr: string;
  readonly ending: string;
  readonly missing: boolean;
  readonly cause: unknown;
}

/** What tools get of the environment of this process. */
const inherited = [
  ...['HOME', 'USER', 'LOGNAME', 'SHELL', 'TERM', 'TMPDIR', 'TZ', 'LD_LIBRARY_PATH'],
  // Of builds.
  ...['SOURCE_DATE_EPOCH', 'APT_CONFIG', 'GNUPGHOME'],
];

/**
 * Runs a tool of the system (util-linux, btrfs-progs, kexec-tools, apt) to its end, without a
 * shell. The PATH of a boot image may lack the sbin directories, so they are always searched. A
 * pipe of tools whose output is too large to keep in memory is not for this function; execa makes
 * it.
 *
 * @returns its exit code and standard output without the last newline
 * @throws {ToolError} it is missing, ends with another exit code, or takes too long; the reason of
 *   the signal
 */
export async function runTool(tool: string, args: readonly string[], options: ToolOptions = {}): Promise<ToolOutput> {
  options.signal?.throwIfAborted();
  const { timeoutSeconds = 120, acceptedExitCodes = [0], workingDirectory, environment, input } = options;
  // An agent that waits for work runs no tools, and uses half a megabyte less without this.
  const { execa } = await import('execa');
  const result = await execa(tool, args, {
    reject: false,
    ...(input === undefined ? { stdin: 'ignore' as const } : { input }),
    // Ctrl-C on a terminal must reach this process alone: some of its tools clean up and must not
    // be interrupted.
    detached: true,
    // The environment of this process has passwords, of registries and proxies.
    extendEnv: false,
    env: {
      ...Object.fromEntries(inherited.map((name) => [name, process.env[name]])),
      LC_ALL: 'C',
      PATH: `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin`,
      ...environment,
    },
    ...(Number.isFinite(timeoutSeconds) && { timeout: timeoutSeconds * 1000 }),
    ...(options.signal !== undefined && { cancelSignal: options.signal }),
    ...(workingDirectory !== undefined && { cwd: workingDirectory }),
  });
  options.signal?.throwIfAborted();
  const { exitCode, stdout, stderr } = result;
  if (exitCode !== undefined && acceptedExitCodes.includes(exitCode)) return { exitCode, stdout };
  const ending =
    exitCode === undefined ? (result.signal ?? result.originalMessage ?? 'an unknown status') : `exit code ${exitCode}`;
  const details = { stdout, stderr, ending, cause: result };
  if (result.code === 'ENOENT') {
    const why = 'program not found';
    throw new ToolError(tool, args, {
      ...details,
      why,
      hint: `install the package that contains ${tool}`,
      missing: true,
    });
  }
  const why = result.timedOut
    ? `it did not end within ${timeoutSeconds} s`
    : stderr.trim() || stdout.trim() || `it ended with ${ending}`;
  throw new ToolError(tool, args, { ...details, why, missing: false });
}
