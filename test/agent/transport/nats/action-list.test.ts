import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  ActionListError,
  idOfAttempt,
  parseAttemptId,
  readActionList,
} from '../../../../agent/transport/nats/action-list.ts';

const options = { workerId: 'me', listId: 'list-1', source: 'list' };
const read = (text: string) => readActionList(text, options);

/** The problems of a list that is refused. */
function problemsOf(text: string): string[] {
  try {
    read(text);
  } catch (error) {
    assert.ok(error instanceof ActionListError);
    return error.message.split('\n');
  }
  return assert.fail('the list was taken');
}

const complete = `
- workflow_id: ns/flatcar
  task_id: install
  id: 01J
  name: write image
  agent_id: 08:00:27:00:00:01
  image: registry.local:5000/image2disk:v1
  cmd: /bin/image2disk
  args: [--port, 8080, "", true]
  env:
  - {key: DEST_DISK, value: /dev/sda}
  - {key: PORT, value: 0080}
  - {key: EMPTY}
  volumes: ["/dev:/dev", data:/data:ro]
  namespaces: {network: host, pid: host}
  retries: 3
  timeoutSeconds: 600
`;

describe('readActionList()', () => {
  test('takes every field, and every value as it is written', () => {
    assert.deepEqual(read(complete), {
      actions: [
        {
          action: {
            workflowId: 'ns/flatcar',
            taskName: 'install',
            id: '01J',
            name: 'write image',
            workerId: '08:00:27:00:00:01',
            image: 'registry.local:5000/image2disk:v1',
            registryPrefix: 'never',
            sharesDirectory: false,
            entrypoint: ['/bin/image2disk'],
            command: ['--port', '8080', '', 'true'],
            environment: ['DEST_DISK=/dev/sda', 'PORT=0080', 'EMPTY='],
            volumes: ['/dev:/dev', 'data:/data:ro'],
            timeoutSeconds: 600,
            pidMode: 'host',
            networkMode: 'host',
            onTimeout: [],
            onFailure: [],
          },
          attempts: 3,
        },
      ],
      warnings: [],
    });
  });

  test('takes JSON', () => {
    const json = JSON.stringify(
      [{ image: 'busybox', args: ['echo', 'a: b'], timeoutSeconds: 5, retries: 0 }],
      null,
      '\t',
    );
    const [listed] = read(json).actions;
    assert.deepEqual(listed?.action.command, ['echo', 'a: b']);
    assert.equal(listed?.action.timeoutSeconds, 5);
    assert.equal(listed?.attempts, 1);
  });

  test('has "cmd" in place of the entry point of the image, and "args" in place of its CMD, as tink-agent', () => {
    const launched = (fields: string) => {
      const { entrypoint, command } = read(`[{image: a${fields}}]`).actions[0]?.action ?? {};
      return [entrypoint, command];
    };
    assert.deepEqual(launched(', cmd: sleep, args: ["2"]'), [['sleep'], ['2']]);
    assert.deepEqual(launched(', cmd: sleep'), [['sleep'], []]);
    assert.deepEqual(launched(', args: [a, b]'), [undefined, ['a', 'b']]);
    assert.deepEqual(launched(', cmd: "", args: []'), [undefined, []]);
  });

  test('makes the ids and names that are missing, from the id of the list', () => {
    const { actions } = read('[{image: a}, {image: b, worker_id: you, timeoutSeconds: 0}]');
    assert.deepEqual(
      actions.map(({ action: { workflowId, id, name, workerId } }) => ({ workflowId, id, name, workerId })),
      [
        { workflowId: 'list-1', id: 'list-1-1', name: 'action-1', workerId: 'me' },
        { workflowId: 'list-1', id: 'list-1-2', name: 'action-2', workerId: 'you' },
      ],
    );
    assert.equal(actions[1]?.action.timeoutSeconds, undefined);
  });

  test('tells all that is wrong, with its place', () => {
    const text = `- name: a
  cmd: [sh]
- image: "not an image"
  retries: -1
  timeoutSeconds: "5"
- image: b
  id: x.attempt-2
  env: [{key: A=B, value: c}, {value: d}, plain]
- just text
`;
    const problems = problemsOf(text);
    assert.deepEqual(
      problems.map((problem) => problem.split(': ')[0]),
      [
        'list:1:3',
        'list:2:8',
        'list:3:10',
        'list:4:12',
        'list:5:19',
        'list:7:7',
        'list:8:9',
        'list:8:31',
        'list:8:43',
        'list:9:3',
      ],
    );
    assert.match(problems[0] ?? '', /must name an image/);
    assert.match(problems[1] ?? '', /"cmd" must be text, not a list/);
    assert.match(problems[3] ?? '', /"retries" must not be negative/);
    assert.match(problems[4] ?? '', /"timeoutSeconds" must be a whole number without quotes/);
    assert.match(problems[9] ?? '', /an action must be a mapping/);
  });

  test('refuses what is no list, or an empty one', () => {
    assert.deepEqual(problemsOf(''), ['list:1:1: the list has no actions']);
    assert.deepEqual(problemsOf('[]'), ['list:1:1: the list has no actions']);
    assert.deepEqual(problemsOf('image: a'), ['list:1:1: the list of actions must be a list, not a mapping']);
    assert.match(problemsOf('- image: [').join(), /^list:\d+:\d+: /);
    assert.match(problemsOf('\u0000\ufffd"').join(), /^list:1:1: /);
  });

  test('refuses two actions with the same id', () => {
    const text =
      '- {id: a, image: x}\n- {id: b, image: x}\n- {id: a, image: x}\n- {id: a, image: x, workflow_id: other}\n';
    assert.deepEqual(problemsOf(text), ['list:3:3: an earlier action has the same id']);
  });

  test('warns of keys that mean nothing, and not of those of records', () => {
    const { warnings } = read('- image: a\n  executionDuration: 5s\n  comand: [x]\n');
    assert.deepEqual(warnings, ['list:3:3: an action knows no "comand"; ignored']);
  });
});

test('parseAttemptId() is the opposite of idOfAttempt()', () => {
  for (const attempt of [1, 2, 13])
    assert.deepEqual(parseAttemptId(idOfAttempt('a.b', attempt)), { id: 'a.b', attempt });
  assert.equal(idOfAttempt('a', 1), 'a');
});
