import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TemplateEngine } from '../../../agent/template/engine/engine.ts';
import { type Problem, TemplateError } from '../../../agent/template/problem.ts';
import { readTemplate, type TaskAction } from '../../../agent/template/template.ts';
import { seedTemplate } from '../../sandbox/seed.ts';

const engine = await TemplateEngine.load();

/** Reads a template for which there is no hardware. */
function read(text: string, variables: Readonly<Record<string, string>> = {}, source = 't.yaml') {
  return readTemplate(engine, text, { variables, hardware: undefined }, source);
}

/** Line 1 to 6 of a template; the fields of its one action begin in line 7, column 5. */
function oneAction(...fields: readonly string[]): string {
  const head = ['name: t', 'global_timeout: 9', 'tasks:', '- name: a', '  worker: w', '  actions:'];
  return [...head, `  - ${fields.join('\n    ')}`].join('\n');
}

function actionOf(text: string): TaskAction | undefined {
  return read(text).template.tasks[0]?.actions[0];
}

/** The problems of a template as `line:column message`. */
function problemsOf(text: string, variables: Readonly<Record<string, string>> = {}): string[] {
  try {
    read(text, variables);
  } catch (error) {
    if (!(error instanceof TemplateError)) throw error;
    return error.problems.map(asText);
  }
  return [];
}

function asText({ line, column, message }: Problem): string {
  return `${line}:${column} ${message}`;
}

function warningsOf(text: string): string[] {
  return read(text).warnings.map(asText);
}

const good = ['name: a', 'image: i', 'timeout: 9'];

describe('readTemplate()', () => {
  test('reads the template of the post', () => {
    const text = seedTemplate('{}', 'key', 'http://mirror');
    const { template } = read(text, { machine1: '08:00:27:00:00:01' });
    const [task, ...others] = template.tasks;
    assert.deepEqual([template.name, template.globalTimeoutSeconds, others.length], ['flatcar-install', 1800, 0]);
    assert.deepEqual([task?.name, task?.worker], ['flatcar-install', '08:00:27:00:00:01']);
    assert.deepEqual(
      task?.actions.map(({ name }) => name),
      ['dump-ignition', 'dump-signing-key', 'flatcar-install'],
    );
    assert.deepEqual(task?.actions[2], {
      name: 'flatcar-install',
      image: 'flatcar-install',
      timeoutSeconds: 0,
      command: [
        ...['/usr/local/bin/flatcar-install', '-s', '-i', '/statedir/ignition.json'],
        ...['-b', 'http://mirror', '-k', '/statedir/signing-key.asc'],
      ],
      onTimeout: [],
      onFailure: [],
      volumes: ['/dev:/dev', '/statedir:/statedir'],
      environment: [],
      pidMode: undefined,
      networkMode: undefined,
    });
  });

  test('overlays the environment of the task by that of the action, sorted, and puts its volumes first', () => {
    const text = oneAction(...good, 'volumes: ["/x:/z", /y:/y]', 'environment: {C: action, B: action, N: }').replace(
      '  actions:',
      '  volumes: ["/x:/y"]\n  environment: {B: task, A: 1}\n  actions:',
    );
    const action = actionOf(text);
    assert.deepEqual(action?.volumes, ['/x:/y', '/x:/z', '/y:/y']);
    assert.deepEqual(action?.environment, ['A=1', 'B=action', 'C=action', 'N=']);
  });

  test('takes numbers and words as text where text is wanted, and empty lists as none', () => {
    const action = actionOf(oneAction('name: 5', 'image: i', 'timeout: 9', 'command: [sleep, 0x10, true]', 'volumes:'));
    assert.deepEqual([action?.name, action?.command, action?.volumes], ['5', ['sleep', '0x10', 'true'], []]);
  });

  test('prefers namespaces to pid, and takes aliases', () => {
    const action = actionOf(oneAction(...good, 'pid: &here host', 'namespaces: {network: *here, pid: "container:x"}'));
    assert.deepEqual([action?.pidMode, action?.networkMode], ['container:x', 'host']);
    assert.equal(actionOf(oneAction(...good, 'pid: host'))?.pidMode, 'host');
  });

  test('merges mappings, with what stands in the action itself first', () => {
    const text = oneAction('<<: *common', 'name: a', 'image: j').replace(
      'tasks:',
      'common: &common {image: i, timeout: 9, environment: {A: 1}}\ntasks:',
    );
    const action = actionOf(text);
    assert.deepEqual([action?.image, action?.timeoutSeconds, action?.environment], ['j', 9, ['A=1']]);
  });

  test('warns of what servers pass over, with its place', () => {
    assert.deepEqual(warningsOf(oneAction(...good, 'comand: [x]')), ['10:5 an action knows no "comand"; ignored']);
    assert.deepEqual(warningsOf(`${oneAction(...good)}\nextra: 1`), ['10:1 the template knows no "extra"; ignored']);
    const atOnce = 'current servers take that for a limit that is over at once';
    assert.deepEqual(warningsOf(oneAction('name: a', 'image: i')), [`7:5 the action has no "timeout": ${atOnce}`]);
    assert.deepEqual(warningsOf(oneAction(...good).replace('9\n', '0\n')), [
      `2:17 the template has no "global_timeout": ${atOnce}`,
    ]);
    assert.deepEqual(warningsOf('name: t\nglobal_timeout: 1\ntasks: [{name: x, worker: w}]'), [
      '3:9 the task "x" has no actions',
    ]);
    assert.deepEqual(warningsOf(oneAction(...good, 'command: [a, ~, b]')), [
      '10:18 an item of "command" is nothing; ignored',
    ]);
    assert.deepEqual(warningsOf(oneAction(...good)), []);
  });

  const refused: readonly (readonly [what: string, text: string, ...problems: readonly string[]])[] = [
    ['an empty template', '', '1:1 the template is empty'],
    ['a template that is no mapping', '[a]', '1:1 the template must be a mapping (key: value), not a list'],
    [
      'a template without name and tasks',
      'global_timeout: 3',
      ...['1:1 the template must have a name', '1:1 the template must have at least one task'],
    ],
    ['an empty list of tasks', 'name: t\ntasks: []', '2:8 the template must have at least one task'],
    ['a task without a worker', 'name: t\ntasks:\n- name: a', '3:3 the task must name its worker'],
    ['an empty name', oneAction('image: i', 'name: ""'), '8:11 the action must have a name'],
    [
      'a name that is too long',
      oneAction(`name: ${'é'.repeat(100)}`, 'image: i'),
      '7:11 the name must have less than 200 bytes, not 200',
    ],
    [
      'a second action of the same name',
      `${oneAction(...good)}\n  - name: a\n    image: i`,
      '10:11 there is a second action of the name "a"',
    ],
    [
      'a second task of the same name',
      `${oneAction(...good)}\n- name: a\n  worker: v`,
      '10:9 there is a second task of the name "a"',
    ],
    ['a missing image', oneAction('name: a'), '7:5 the action must name an image'],
    [
      'what is no name of an image',
      oneAction('name: a', 'image: "a b"'),
      '8:12 "a b" is not the name of an image: the repository "a b" is malformed',
    ],
    [
      'a command that is no list',
      oneAction(...good, 'command: sleep 5'),
      '10:14 "command" must be a list, not a single value',
    ],
    [
      'a command with a list in it',
      oneAction(...good, 'command:', '- sh', '- [c]'),
      '12:7 item 2 of "command" must be text, not a list',
    ],
    [
      'an environment that is a list',
      oneAction(...good, 'environment: [A=1]'),
      '10:18 "environment" must be a mapping (key: value), not a list',
    ],
    [
      'a variable that is no text',
      oneAction(...good, 'environment: {A: [1]}'),
      '10:22 the variable A must be text, not a list',
    ],
    [
      'a quoted timeout',
      oneAction('name: a', 'image: i', 'timeout: "60"'),
      '9:14 "timeout" must be a whole number without quotes',
    ],
    [
      'a timeout with a unit',
      oneAction('name: a', 'image: i', 'timeout: 1m'),
      '9:14 "timeout" must be a whole number without quotes',
    ],
    ['a key that occurs twice', oneAction(...good, 'image: j'), '10:5 an action has the key "image" twice'],
    [
      'what cannot be merged',
      oneAction(...good, '<<: text'),
      '10:9 "<<" merges a mapping, or a list of mappings, into an action',
    ],
    ['what is no YAML', oneAction(...good, 'command: a: b'), '10:5 mapping values are not allowed in this context'],
    [
      'what fails while it is filled in',
      oneAction(...good, 'command: [{{ .a | upper }}]'),
      '10:18 .a: map has no entry for key "a" (give it with --set a=…)',
    ],
    ['a template that is malformed', oneAction(...good, 'command: [{{ if }}]'), '10:15 missing value for if'],
    [
      'an action that is no mapping',
      oneAction('text'),
      '7:5 an action must be a mapping (key: value), not a single value',
    ],
  ];
  for (const [what, text, ...problems] of refused) {
    test(`refuses ${what}, with its place`, () => assert.deepEqual(problemsOf(text), problems));
  }

  test('says all that is wrong, in order', () => {
    const text = oneAction('image: A', 'command: x').replace('worker: w', 'worker: ""');
    assert.deepEqual(
      problemsOf(text).map((problem) => problem.split(' ')[0]),
      ['5:11', '7:5', '7:12', '8:14'],
    );
  });

  test('names the place in the template as it was written, whatever its variables become', () => {
    const text =
      'name: {{.long}} # {{.long}}\ntasks: [{name: {{.two}}, worker: w, command: }, {worker: w, name: b, actions: 3}]';
    const data = { long: `"${'x'.repeat(80)}"`, two: 'a\n  c' };
    assert.deepEqual(problemsOf(text, data), ['2:79 "actions" must be a list, not a single value']);
    // Something wrong inside of a value is where the value is asked for.
    assert.deepEqual(problemsOf(oneAction('name: a', 'image: {{ .image }}'), { image: 'Wrong' }), [
      '8:12 "Wrong" is not the name of an image: the repository "Wrong" is malformed (it must be lower case)',
    ]);
  });

  test('has one line for each problem in the message, as compilers write it', () => {
    assert.throws(() => read('name: t', {}, 'dir/t.yaml'), {
      message: 'dir/t.yaml:1:1: the template must have at least one task',
    });
  });
});
