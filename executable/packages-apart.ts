/**
 * Packages that are bundles of their own: whoever does not need one does not read it, and V8, which takes ten times the size of a bundle to read it, takes
 * that only for the largest, not for their sum, and what it took once the process never gives back.
 */
export const PACKAGES_APART: readonly string[] = [
  '@grpc/grpc-js',
  '@nats-io/transport-node',
  'dockerode',
  'execa',
  'pino',
  'prom-client',
  'systeminformation',
  'yaml',
  'zod',
];

/** File name of a package's bundle. */
export function bundleOf(packageName: string): string {
  return `${packageName.replace('/', '-')}.cjs`;
}
