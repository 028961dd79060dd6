import { existsSync } from 'node:fs';
import { join } from 'node:path';

/**
 * The kernel in unpacked packages: in /boot, or beside its modules, where Debian has kernels newer
 * than 6.12.
 * @param version as in lib/modules/<version>
 * @returns its path
 * @throws {Error} it is in neither place
 */
export function findKernelImage(packages: string, version: string): string {
  const paths = [`boot/vmlinuz-${version}`, `lib/modules/${version}/vmlinuz`];
  const path = paths.map((one) => join(packages, one)).find(existsSync);
  if (path !== undefined) return path;
  throw new Error(`the packages of kernel ${version} in ${packages} have none of ${paths.join(', ')}`);
}
