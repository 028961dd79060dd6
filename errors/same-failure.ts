/**
 * What differs from attempt to attempt in the words of servers, engines and libraries about the
 * same failure.
 */
const variable =
  /\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*|\b\d+(?:\.\d+)?(?:ns|µs|us|ms|s|m)\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\b(?:0x)?(?=[0-9a-f]*\d)[0-9a-f]{8,}\b|(?<=[\d\]]:)\d+(?=->)/gi;

/**
 * Whether two messages tell of the same failure. Times, durations, the local port of a connection,
 * and numbers of requests and objects do not count; all other numbers do, for example the status of
 * an answer.
 */
export function isSameFailure(one: string, other: string | undefined): boolean {
  return other !== undefined && one.replace(variable, '…') === other.replace(variable, '…');
}
