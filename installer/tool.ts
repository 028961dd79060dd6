import { execa } from 'execa';
import { InstallError } from './errors.ts';

export interface ToolOptions {
  readonly signal?: AbortSignal | undefined;
  /** The tool is killed after this long. Default: 120. */
  readonly timeoutSeconds?: number;
  /** Exit codes that are not a failure. Default: only 0. */
  readonly acceptedExitCodes?: readonly number[];
}

export interface ToolOutput {
  readonly exitCode: number;
  readonly stdout: string;
}

/** A tool of the system is missing, failed, or did not end. `stderr` is what it said, in English. */
export class ToolError extends InstallError {
  override readonly name: string = 'ToolError';
  readonly stderr: string;
  readonly missing: boolean;

  constructor(tool: string, args: readonly string[], why: string, hint: string | undefined, details: ToolErrorDetails) {
    super({ what: 'run', target: `'${[tool, ...args].join(' ')}'`, why, hint, cause: details.cause });
    this.stderr = details.stderr;
    this.missing = details.missing;
  }
}

interface ToolErrorDetails {
  readonly stderr: string;
  readonly missing: boolean;
  readonly cause: unknown;
}

/**
 * Runs a tool of the system (util-linux, btrfs-progs, efibootmgr) to its end, without a shell and without input.
 * A boot image's PATH may lack the sbin directories, so they are always searched.
 * @throws ToolError when it is missing, ends with another exit code, or takes too long; the signal's reason when aborted.
 */
export async function runTool(tool: string, args: readonly string[], options: ToolOptions = {}): Promise<ToolOutput> {
  options.signal?.throwIfAborted();
  const timeoutSeconds = options.timeoutSeconds ?? 120;
  const result = await execa(tool, args, {
    reject: false,
    stdin: 'ignore',
    // Ctrl-C on a terminal goes to us, who stop what may be stopped and clean up with tools that must not be.
    detached: true,
    env: { LC_ALL: 'C', PATH: `${process.env['PATH'] ?? ''}:/usr/local/sbin:/usr/sbin:/sbin:/usr/bin:/bin` },
    timeout: timeoutSeconds * 1000,
    ...(options.signal === undefined ? {} : { cancelSignal: options.signal }),
  });
  options.signal?.throwIfAborted();
  if (result.exitCode !== undefined && (options.acceptedExitCodes ?? [0]).includes(result.exitCode)) {
    return { exitCode: result.exitCode, stdout: result.stdout };
  }
  const stderr = result.stderr;
  if (result.code === 'ENOENT') {
    const details = { stderr, missing: true, cause: result };
    throw new ToolError(tool, args, 'there is no such program', `install the package that has ${tool}`, details);
  }
  const why = result.timedOut
    ? `it did not end within ${timeoutSeconds} seconds`
    : stderr.trim() ||
      result.stdout.trim() ||
      `it ended with ${result.exitCode ?? result.signal ?? 'an unknown state'}`;
  throw new ToolError(tool, args, why, undefined, { stderr, missing: false, cause: result });
}
