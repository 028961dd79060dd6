/**
 * Loaded into the processes of tests: each exits when nothing is left to do. Left to itself, Node
 * 24 now and then loops without end in its own exit (Environment::CleanupHandles) after connections
 * that broke.
 */
import { isMainThread } from 'node:worker_threads';

// Registered last, so that all other listeners had their turn: the test runner sets the exit code
// in one of them.
if (isMainThread) process.once('beforeExit', () => process.once('exit', (code) => process.exit(code)));
