/** A process that runs one action and can be killed: `node mortal.ts <host> <work directory> <registry> <action as JSON>`. */
import type { Action } from '../../../agent/action.ts';
import { createDockerRuntime } from '../../../agent/runtime/docker.ts';

const [host = '', workDirectory = '', registry = '', action = ''] = process.argv.slice(2);
const runtime = createDockerRuntime({
  ...{ host, workDirectory, registry, privileges: 'all-available' },
  redact: (text) => text,
  onEvent: (event) => void process.stdout.write(`${JSON.stringify(event)}\n`),
});
const outcome = await runtime.run(JSON.parse(action) as Action, new AbortController().signal);
process.stdout.write(`${JSON.stringify(outcome)}\n`);
