import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';

/** What is looked at, in the order of the output. */
export type Subject = 'settings' | 'disks' | 'engine' | 'registry' | 'server' | 'tls' | 'clock';

/**
 * - ok: nothing to do.
 * - warning: the agent works, but not as a site may want it.
 * - error: the agent cannot work, or an action will fail.
 * - unchecked: could not be looked at; the message says why.
 */
export type Severity = 'ok' | 'warning' | 'error' | 'unchecked';

/** What was found out about one thing. */
export interface Finding {
  readonly subject: Subject;
  readonly severity: Severity;
  /** Of several things of one subject this one, for example a registry. Empty: there is one. */
  readonly target: string;
  /** What was found, without what to do. */
  readonly message: string;
  /** What a person can do about it. Empty for `ok`, and where it is not known. */
  readonly advice: string;
}

/** Makes a finding. */
export function finding(
  subject: Subject,
  severity: Severity,
  message: string,
  more: { readonly target?: string; readonly advice?: string } = {},
): Finding {
  return { subject, severity, target: more.target ?? '', message, advice: more.advice ?? '' };
}

/** The finding of a failure: its hint becomes the advice. */
export function findingOf(subject: Subject, error: unknown, advice: string, target = ''): Finding {
  if (!(error instanceof OperationError)) return finding(subject, 'error', reasonOf(error), { target, advice });
  const { what, target: object, why, hint = advice } = error;
  return finding(subject, 'error', `cannot ${what} ${object}: ${why}`, { target, advice: hint });
}

/** The same finding without secrets. */
export function redactFinding(found: Finding, redact: (text: string) => string): Finding {
  const { target, message, advice } = found;
  return { ...found, target: redact(target), message: redact(message), advice: redact(advice) };
}

/** Whether the agent can work with what was found. */
export function isHealthy(findings: readonly Finding[]): boolean {
  return findings.every(({ severity }) => severity !== 'error');
}

/** For people: a line for each finding, and one below it for the advice. */
export function findingsAsText(findings: readonly Finding[]): string {
  const lines = findings.flatMap(({ subject, severity, target, message, advice }) => [
    `${severity.padEnd(9)}  ${subject.padEnd(8)}  ${target === '' ? '' : `${target}: `}${message.replaceAll('\n', '; ')}`,
    ...(advice === '' ? [] : [`${' '.repeat(21)}to do: ${advice}`]),
  ]);
  const count = (severity: Severity) => findings.filter((one) => one.severity === severity).length;
  const total = `errors: ${count('error')}, warnings: ${count('warning')}, not checked: ${count('unchecked')}`;
  return `${[...lines, total].join('\n')}\n`;
}

/** The same as one JSON object: `{"ok": …, "findings": […]}`. */
export function findingsAsJson(findings: readonly Finding[]): string {
  return `${JSON.stringify({ ok: isHealthy(findings), findings })}\n`;
}
