/**
 * A process that runs one action and can be killed:
 * `node action-process.ts <engine location as JSON> <work directory> <registry> <action as JSON>`.
 */
import type { Action } from '../../../agent/action/action.ts';
import { createRuntime, type EngineLocation } from './runtime-fixture.ts';

const [location = '', workDirectory = '', registry = '', action = ''] = process.argv.slice(2);
await using runtime = createRuntime(JSON.parse(location) as EngineLocation, {
  ...{ workDirectory, registry, privileges: 'all-available' },
  redact: (text) => text,
  redactParts: () => (part) => part,
  onEvent: (event) => void process.stdout.write(`${JSON.stringify(event)}\n`),
});
const parsed = JSON.parse(action) as Action;
const outcome = await runtime.run(parsed, new AbortController().signal);
await runtime.release(parsed);
process.stdout.write(`${JSON.stringify(outcome)}\n`);
