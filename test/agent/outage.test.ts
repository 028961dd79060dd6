import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { ended, eventsOf, type Hall, makeSite, startHall } from './site.ts';

let hall: Hall;

before(async () => {
  hall = await startHall();
});

after(() => hall?.[Symbol.asyncDispose]());

test('a server that is away for a minute, from the middle of an action to after its end, misses nothing', {
  timeout: 180_000,
}, async (test) => {
  const site = await makeSite(test, hall);
  const workflow = site.createWorkflow([
    { name: 'one', script: 'echo one >> /site/done; echo it runs; sleep 5' },
    { name: 'two', script: 'echo two >> /site/done' },
  ]);
  const agent = site.start(['--backoff-max-interval=5s']);
  await agent.said(/\[one\] it runs/);
  await site.server.stop();
  // The outage is what is tested, so it lasts as long as the test names.
  await new Promise((resolve) => setTimeout(resolve, 60_000));
  await site.server.start();
  await ended(site, workflow, 'ACTION_SUCCESS', 'two');
  assert.deepEqual(await site.done(), ['one', 'two']);
  assert.deepEqual(eventsOf(site, workflow), [
    'one ACTION_IN_PROGRESS',
    'one ACTION_SUCCESS',
    'two ACTION_IN_PROGRESS',
    'two ACTION_SUCCESS',
  ]);
  const said = agent.output.filter((line) => /cannot report the end/.test(line));
  assert.ok(said.length >= 1 && said.length <= 4, said.join('\n'));
  await agent.said(/could report the end of an action again after \d+ s/);
});
