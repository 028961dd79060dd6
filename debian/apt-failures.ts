import { ToolError } from '../tools/run-tool.ts';

/** What apt could not fetch, and why: `404 Not Found`, `Hash Sum mismatch`. */
export interface AptFailure {
  readonly url: string;
  readonly reason: string;
}

/**
 * Files that apt could not fetch, from its error output:
 *
 *     E: Failed to fetch http://mirror/pool/k.deb  404  Not Found [IP: 192.0.2.1 80]
 */
export function fetchFailures(error: ToolError): AptFailure[] {
  return [...error.stderr.matchAll(/^E: Failed to fetch (\S+) +(.+?)(?: \[IP: .*\])?$/gm)].map(
    ([, url = '', reason = '']) => ({ url, reason: reason.replace(/ +/g, ' ') }),
  );
}

/** The first line of apt's error output that gives a reason. Signatures are reported as warnings. */
export function aptReason(error: unknown): string {
  if (!(error instanceof ToolError)) return String(error);
  const lines = error.stderr.split('\n').filter((line) => /^[EW]: /.test(line));
  const ofSignature = lines.find((line) => /GPG error|not signed|signature/i.test(line));
  return (ofSignature ?? lines[0] ?? error.why).replace(/^[EW]: /, '');
}
