/** A process that runs one action and can be killed: `node mortal.ts <place as JSON> <work directory> <registry> <action as JSON>`. */
import type { Action } from '../../../agent/action/action.ts';
import { createRuntime, type Place } from './workshop.ts';

const [place = '', workDirectory = '', registry = '', action = ''] = process.argv.slice(2);
await using runtime = createRuntime(JSON.parse(place) as Place, {
  ...{ workDirectory, registry, privileges: 'all-available' },
  redact: (text) => text,
  onEvent: (event) => void process.stdout.write(`${JSON.stringify(event)}\n`),
});
const given = JSON.parse(action) as Action;
const outcome = await runtime.run(given, new AbortController().signal);
await runtime.release(given);
process.stdout.write(`${JSON.stringify(outcome)}\n`);
