/**
 * Prefixes that each layer between an engine and the kernel adds to a reason (containerd, its shim,
 * runc), and that of Go's HTTP client for a registry's.
 */
const wrappings = [
  /^failed to create (?:shim task|shim|task for container): /,
  /^OCI runtime create failed: /,
  /^runc create failed: /,
  /^error during container init: /,
  /^container_linux\.go:\d+: starting container process caused: /,
  /^unable to start container process: /,
  /^(?:Get|Head|Post) "?https?:\/\/[^ ]*: (?=[a-z])/,
];

/**
 * The reason inside an engine's error message.
 * @param outer further prefixes, of the engine's own API
 */
export function innermostReason(message: string, outer: readonly RegExp[] = []): string {
  let rest = message.trim();
  for (let before = ''; before !== rest; ) {
    before = rest;
    for (const wrapping of [...outer, ...wrappings]) rest = rest.replace(wrapping, '');
  }
  return rest.replace(/: unknown$/, '').trim();
}
