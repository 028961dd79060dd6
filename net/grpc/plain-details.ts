import { withoutNodeAdvice } from '../../errors/node-advice.ts';

/**
 * Details of a failed call on one line, without gRPC's frame around them and without what differs
 * between attempts: time of the attempt, its duration, number of OpenSSL's thread. The same failure
 * has the same text.
 *
 * A server sends the details: no expression may begin anew at each of many spaces or digits.
 */
export function plainDetails(details: string): string {
  return (
    withoutNodeAdvice(details)
      .replace(/^No connection established\. Last error: (?:Error: )?/, '')
      .replace(/(?:\.|(?<!\s)) *Resolution note: *$/, '')
      .replace(/ \(\d{4}-\d\d-\d\dT[\d:.]+Z\)/g, '')
      // ERR_error_string(3): thread, code, library, function, reason, place in OpenSSL's source.
      .replace(/(?<![0-9A-F])[0-9A-F]{1,32}:error:[0-9A-F]+:([^:]*):[^:]*:([^:]*):[^:]*:\d+:[^\n]*\n?/g, '$1: $2')
      .replace(/^(Deadline exceeded) after .*$/s, '$1')
      .trim()
      // A server in Go puts joined errors on a line each, some with a frame of their own.
      .replace(/(?<!\s)\s*\n\s*(?:rpc error: code = \w+ desc =(?:\s+|$))*/g, ': ')
  );
}
