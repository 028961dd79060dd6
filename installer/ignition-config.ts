import { createReadStream } from 'node:fs';
import { addAbortSignal, type Readable } from 'node:stream';
import { reasonOf } from '../errors/reason.ts';
import { ConfigurationError } from './configure/errors.ts';
import { type Assessment, assessIgnition, type FlatcarRelease, listProblems } from './configure/ignition/assess.ts';
import { formatProblem } from './configure/ignition/check.ts';
import { describeIgnitions, findIgnition, type IgnitionRelease } from './configure/ignition/releases.ts';
import { InstallError } from './errors.ts';
import type { Report } from './progress.ts';

/** Far more than an OEM partition has room for. */
export const maxIgnitionBytes = 64 * 1024 * 1024;

/**
 * Reads a config from a file or, with `-`, from standard input.
 * @throws {InstallError} it cannot be read, or is larger than what is read from a server
 */
export async function readIgnitionFile(path: string, signal: AbortSignal): Promise<Uint8Array> {
  const isStandardInput = path === '-';
  const source = isStandardInput ? process.stdin : createReadStream(path);
  try {
    return await readBounded(addAbortSignal(signal, source));
  } catch (cause) {
    signal.throwIfAborted();
    throw new InstallError({
      what: 'read the Ignition config',
      target: isStandardInput ? 'from standard input' : path,
      why: reasonOf(cause),
      hint: 'give a readable file with -i',
      cause,
    });
  }
}

async function readBounded(source: Readable): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let length = 0;
  for await (const chunk of source) {
    const bytes = Buffer.from(chunk);
    chunks.push(bytes);
    length += bytes.length;
    if (length > maxIgnitionBytes) throw new RangeError(`it is larger than ${maxIgnitionBytes} bytes`);
  }
  return Buffer.concat(chunks);
}

export function nameOfConfig(path: string): string {
  return path === '-' ? 'standard input' : path;
}

/** What will read a config. */
export interface Reader {
  /** Undefined for an image that may be of any release. */
  readonly flatcar?: FlatcarRelease | undefined;
  /** In place of what that release has. */
  readonly ignitionVersion?: string | undefined;
}

/**
 * @throws {ConfigurationError} there is no such Ignition in Flatcar
 */
export function assess(bytes: Uint8Array, { flatcar, ignitionVersion }: Reader, canBeNewer: boolean): Assessment {
  const reader = ignitionVersion === undefined ? flatcar : requireIgnition(ignitionVersion);
  return assessIgnition(bytes, reader, canBeNewer);
}

function requireIgnition(version: string): IgnitionRelease {
  const found = findIgnition(version);
  if (found !== undefined) return found;
  throw new ConfigurationError({
    what: 'check as',
    target: `Ignition ${version}`,
    why: 'no release of Flatcar has it, or it is newer than this program',
    hint: `give one of ${describeIgnitions()}`,
  });
}

/** A config that is written to a disk, and what was already reported about it. */
export interface IgnitionConfig {
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly reported: Set<string>;
}

/**
 * Refuses what the first boot would: its errors would show only there, on a machine without a
 * login. Warnings are reported once.
 * @param unchecked reports the errors and refuses nothing
 * @param isFinal whether the release is as certain as it can be; before, doubts are kept back
 * @throws {ConfigurationError} with the place of every error
 */
export function requireGoodIgnition(
  config: IgnitionConfig,
  reader: Reader,
  { unchecked, isFinal }: { readonly unchecked: boolean; readonly isFinal: boolean },
  report: Report,
): void {
  const { name } = config;
  const { check, doubts, ignition } = assess(config.bytes, reader, !isFinal);
  const why = config.bytes.length === 0 ? undefined : whyNot(check);
  if (why !== undefined && !unchecked) {
    const [hint] = check.errors.length === 1 ? check.errors.map((error) => error.hint) : [];
    const override = `checked as Ignition ${ignition.version} reads it; --ignition-unchecked overrides this`;
    throw new ConfigurationError({
      what: 'use',
      target: name,
      why,
      hint: [hint ?? (check.ignored === undefined ? undefined : 'give it with -c'), override]
        .filter((part) => part !== undefined)
        .join('; '),
    });
  }
  const warn = (text: string) => {
    if (!config.reported.has(text)) report.warn(`${name}: ${text}`);
    config.reported.add(text);
  };
  if (why !== undefined)
    warn(`NOT CHECKED, by --ignition-unchecked. Ignition ${ignition.version} would fail at first boot: ${why}`);
  else if (check.version !== undefined)
    report.detail(`${name} is an Ignition config of version ${check.version}; Ignition ${ignition.version} reads it`);
  for (const text of [...listProblems(check.warnings), ...listProblems(check.advice)]) warn(text);
  if (isFinal) for (const text of doubts) warn(text);
}

/** Other user data than a config is ignored by Ignition, which is never what is meant with `-i`. */
function whyNot({ errors, ignored, warnings }: Assessment['check']): string | undefined {
  if (ignored !== undefined) return `${ignored}, not an Ignition config`;
  const [first] = errors;
  if (first === undefined) return undefined;
  if (errors.length + warnings.length === 1) return formatProblem({ ...first, hint: undefined });
  // An ignored key is often the reason why another is missing.
  const problems = [...listProblems(errors), ...listProblems(warnings).map((warning) => `warning: ${warning}`)];
  return `it has several problems:\n  ${problems.join('\n  ')}`;
}
