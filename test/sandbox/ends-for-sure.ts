/**
 * Loaded into the processes of tests: each ends when nothing is left to do. Left to itself, Node 24 now and then spins for ever in its own end
 * (Environment::CleanupHandles) after connections that broke.
 */
import { isMainThread } from 'node:worker_threads';

// Registered last, so that all others who wait for the end have had their turn: the test runner sets the exit code then.
if (isMainThread) process.once('beforeExit', () => process.once('exit', (code) => process.exit(code)));
