import { Duplex } from 'node:stream';

/** Node's parser refuses larger heads. */
const maxHeadBytes = 256 * 1024;

/**
 * A connection on which the head of the first response has one `Content-Length`. Some small servers
 * send it twice, or twice in one line. wget and curl take it if both are the same, and so does RFC
 * 9110, section 8.6; Node's parser does not, whatever its options.
 *
 * @param connection to an HTTP server; for one request
 */
export function withSingleLength(connection: Duplex): Duplex {
  let head: Buffer | undefined = Buffer.alloc(0);
  const filtered = new Duplex({
    read: () => void connection.resume(),
    write: (chunk, encoding, done) => void connection.write(chunk, encoding, done),
    final: (done) => void connection.end(done),
    destroy(error, done) {
      connection.destroy(error ?? undefined);
      done(error);
    },
  });
  const push = (chunk: Buffer) => void (filtered.push(chunk) || connection.pause());
  connection.on('data', (chunk: Buffer) => {
    if (head === undefined) return push(chunk);
    const from = Math.max(0, head.length - 3);
    head = Buffer.concat([head, chunk]);
    // Not the whole head for each of its bytes, as a server may send them.
    const end = /\r?\n\r?\n/.exec(head.toString('latin1', from));
    if (end === null && head.length <= maxHeadBytes) return;
    const length = end === null ? head.length : from + end.index + end[0].length;
    push(
      Buffer.concat([Buffer.from(singleLength(head.toString('latin1', 0, length)), 'latin1'), head.subarray(length)]),
    );
    head = undefined;
  });
  connection.once('end', () => {
    if (head !== undefined) filtered.push(head);
    filtered.push(null);
  });
  connection.once('error', (error) => filtered.destroy(error));
  connection.once('close', () => filtered.destroy());
  return filtered;
}

/** Leaves all as they are if they differ: then there is no telling where the body ends. */
function singleLength(head: string): string {
  // Parts that can take the same spaces would try all ways to share them.
  const header = /^content-length[ \t]*:([^\n]*)\n/gim;
  const values = [...head.matchAll(header)].flatMap(([, value = '']) => value.split(',').map((one) => one.trim()));
  const [first] = values;
  if (first === undefined || values.length < 2 || values.some((value) => value !== first)) return head;
  if (!/^\d+$/.test(first)) return head;
  let isFirst = true;
  return head.replace(header, () => {
    const kept = isFirst ? `Content-Length: ${first}\r\n` : '';
    isFirst = false;
    return kept;
  });
}
