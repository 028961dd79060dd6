/**
 * Writes initramfs/packages.lock.json with the current versions of all packages, and prints what
 * has changed.
 *
 *     node initramfs/update.ts
 */
import { updateLockFile } from '../debian/update.ts';
import { productLock, productSets } from './package-sets.ts';

const sets = { amd64: productSets('amd64'), arm64: productSets('arm64') };
for (const line of await updateLockFile(productLock, sets)) process.stdout.write(`${line}\n`);
