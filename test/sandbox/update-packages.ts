/**
 * Writes test/sandbox/packages.lock.json with the current versions, and prints what has changed.
 */
import { updateLockFile } from '../../debian/update.ts';
import { testLock, testSets } from './packages.ts';

for (const line of await updateLockFile(testLock, { amd64: testSets })) process.stdout.write(`${line}\n`);
