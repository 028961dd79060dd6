import { access } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * The kernel in unpacked packages: in /boot, or beside its modules, where Debian has kernels newer
 * than 6.12.
 * @param version as in lib/modules/<version>
 * @returns its path
 * @throws {Error} it is in neither place
 */
export async function findKernelImage(packages: string, version: string): Promise<string> {
  const paths = [`boot/vmlinuz-${version}`, `lib/modules/${version}/vmlinuz`];
  for (const path of paths.map((one) => join(packages, one))) {
    const isThere = await access(path).then(
      () => true,
      () => false,
    );
    if (isThere) return path;
  }
  throw new Error(`the packages of kernel ${version} in ${packages} have none of ${paths.join(', ')}`);
}
