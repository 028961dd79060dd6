/**
 * Loaded into every process of Node by `test/coverage.ts`, with NODE_OPTIONS: at its exit, each
 * thread writes which blocks of `agent/` and `installer/` it ran into the directory after `?`.
 *
 * Node's own NODE_V8_COVERAGE does not reach the programs: `executable/main.ts` removes it and
 * starts again, as the executable that it is not here. It also writes all that a process has
 * loaded, some MB each. What is lost: a process that is killed, a worker that is terminated, and
 * programs of tests that set NODE_OPTIONS themselves.
 */
import { randomUUID } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { Session } from 'node:inspector';
import { join } from 'node:path';

const repository = new URL('../../', import.meta.url);
const directory = decodeURIComponent(new URL(import.meta.url).search.slice(1));
const isOfProduct = (url: string) =>
  ['agent/', 'installer/'].some((folder) => url.startsWith(repository.href + folder));

const session = new Session();
session.connect();
session.post('Profiler.enable');
session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true });

process.once('exit', () => {
  // Called before post() returns: the session is one of this thread.
  session.post('Profiler.takePreciseCoverage', (error, coverage) => {
    if (error !== null) throw error;
    const result = coverage.result.filter(({ url }) => isOfProduct(url));
    if (result.length > 0) writeFileSync(join(directory, `${randomUUID()}.json`), JSON.stringify({ result }));
  });
});
