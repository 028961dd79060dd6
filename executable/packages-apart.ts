/**
 * Packages that are bundles of their own. A program that does not need one does not read it. V8
 * uses ten times the size of a bundle to read it and never returns that memory; with several
 * bundles this is the size of the largest, not of all.
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
