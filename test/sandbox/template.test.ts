import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { parseTemplate, render, TemplateError } from './template.ts';
import { hardwareJson, MACHINE_ONE } from './tink-server/example.ts';
import { startTinkServer } from './tink-server/server.ts';

/** The template of "Provisioning Flatcar Container Linux with Tinkerbell", as it is typed there. */
const SEED = `version: '0.1'
name: flatcar-install
global_timeout: 1800
tasks:
- name: "flatcar-install"
  worker: "{{.machine1}}"
  volumes:
  - /dev:/dev # Needed for accessing the disk so that we can install Flatcar on it.
  - /statedir:/statedir # Needed for passing the Ignition config JSON and running flatcar-install.
  actions:
  - name: "dump-ignition"
    image: flatcar-install
    command:
    - sh
    - -c
    - echo 'eyJpZ25pdGlvbiI6IHt9fQo=' | base64 -d > /statedir/ignition.json # Decode Ignition config to a file.
  - name: "flatcar-install"
    image: flatcar-install
    command:
    - /usr/local/bin/flatcar-install
    - -s # Install to smallest disk.
    - -i
    - /statedir/ignition.json
`;

/** A template with one action, of which `lines` are the fields. */
function oneAction(...lines: string[]): string {
  return [
    "version: '0.1'",
    'name: t',
    'tasks:',
    '- name: a',
    '  worker: w',
    '  actions:',
    `  - ${lines.join('\n    ')}`,
  ].join('\n');
}

function refuses(yaml: string, reason: RegExp, rules: 'v0.1' | 'v0.2' = 'v0.1'): void {
  assert.throws(
    () => parseTemplate(yaml, rules),
    (error) => error instanceof TemplateError && reason.test(error.message),
  );
}

describe('render()', () => {
  it('fills in variables', () => {
    assert.equal(render('a {{.one}} b {{ .two_2 }}\n{{.one}}', { one: '1', two_2: '2' }, 'v0.1'), 'a 1 b 2\n1');
  });

  it('trims where dashes say so', () => {
    assert.equal(render('a \n {{- .one -}} \n b', { one: '1' }, 'v0.1'), 'a1b');
  });

  it('writes <no value> for a missing value, or refuses in later versions', () => {
    assert.equal(render('{{.none}}', {}, 'v0.1'), '<no value>');
    assert.equal(render('{{.toString}}', {}, 'v0.1'), '<no value>');
    assert.throws(() => render('{{.none}}', {}, 'v0.2'), /no value for key "none"/);
  });

  it('refuses what it does not understand', () => {
    assert.throws(
      () => render('{{ if .one }}', {}, 'v0.1'),
      /cannot render {{ if \.one }}: only {{\.name}} is understood/,
    );
  });
});

describe('parseTemplate()', () => {
  it('reads the template of the original', () => {
    const template = parseTemplate(render(SEED, { machine1: '08:00:27:00:00:01' }, 'v0.1'), 'v0.1');
    const inherited = {
      image: 'flatcar-install',
      timeoutSeconds: 0,
      onTimeout: [],
      onFailure: [],
      environment: [],
      pid: '',
      network: '',
    };
    const volumes = ['/dev:/dev', '/statedir:/statedir'];
    assert.deepEqual(template, {
      name: 'flatcar-install',
      globalTimeoutSeconds: 1800,
      tasks: [
        {
          name: 'flatcar-install',
          worker: '08:00:27:00:00:01',
          actions: [
            {
              name: 'dump-ignition',
              command: ['sh', '-c', "echo 'eyJpZ25pdGlvbiI6IHt9fQo=' | base64 -d > /statedir/ignition.json"],
              volumes,
              ...inherited,
            },
            {
              name: 'flatcar-install',
              command: ['/usr/local/bin/flatcar-install', '-s', '-i', '/statedir/ignition.json'],
              volumes,
              ...inherited,
            },
          ],
        },
      ],
    });
  });

  it('takes numbers and words as text where text is wanted', () => {
    const yaml = oneAction('name: 5', 'image: busybox', 'command: [sleep, 5, true]', 'environment: {N: 1}');
    const [action] = parseTemplate(yaml.replace("'0.1'", '0.1'), 'v0.2').tasks[0]?.actions ?? [];
    assert.deepEqual([action?.name, action?.command, action?.environment], ['5', ['sleep', '5', 'true'], ['N=1']]);
  });

  it('takes empty and absent lists alike', () => {
    const [action] =
      parseTemplate(oneAction('name: a', 'image: i', 'volumes:', 'environment:', 'timeout:'), 'v0.1').tasks[0]
        ?.actions ?? [];
    assert.deepEqual([action?.volumes, action?.environment, action?.timeoutSeconds], [[], [], 0]);
  });

  it('lets an action override what it inherits', () => {
    const yaml = oneAction('name: a', 'image: i', 'volumes: ["/x:/z:ro", plain]', 'environment: {B: action}').replace(
      '  actions:',
      '  volumes: ["/x:/y", "/w:/w"]\n  environment: {A: task, B: task}\n  actions:',
    );
    const [action] = parseTemplate(yaml, 'v0.1').tasks[0]?.actions ?? [];
    assert.deepEqual(action?.volumes, ['/x:/z:ro', '/w:/w', 'plain:']);
    assert.deepEqual(action?.environment, ['A=task', 'B=action']);
  });

  it('refuses keys that it does not know', () => {
    refuses(oneAction('name: a', 'image: i', 'comand: [x]'), /comand/);
    refuses(`${oneAction('name: a', 'image: i')}\nextra: 1`, /extra/);
  });

  it('refuses a command that is no list', () => {
    refuses(oneAction('name: a', 'image: i', 'command: sleep 5'), /tasks\[0\]\.actions\[0\]\.command/);
  });

  it('refuses names that occur twice or are too long', () => {
    refuses(
      oneAction('name: a', 'image: i', '', '').replace(/\n +\n? *$/, '\n  - name: a\n    image: i'),
      /two actions of the same name/,
    );
    refuses(oneAction(`name: ${'x'.repeat(201)}`, 'image: i'), /longer than 200 bytes/);
    refuses(oneAction(`name: ${'x'.repeat(200)}`, 'image: i'), /longer than 199 bytes/, 'v0.2');
  });

  it('refuses what is no image reference', () => {
    for (const image of ['Upper/case', 'a b', '"a:"', 'http://x/y', '""'])
      refuses(oneAction('name: a', `image: ${image}`), /image reference/);
    for (const image of [
      'a',
      'h:5000/a/b:1.2',
      'quay.io/x/y_z@sha256:'.concat('0'.repeat(64)),
      'HOST.example/a',
      'localhost/a',
    ]) {
      assert.doesNotThrow(() => parseTemplate(oneAction('name: a', `image: ${image}`), 'v0.1'));
    }
  });

  it('checks version, tasks and empty names only in later versions', () => {
    for (const yaml of ['name: t', "version: '9'\nname: t\ntasks: []", oneAction('name: ""', 'image: i')]) {
      assert.doesNotThrow(() => parseTemplate(yaml, 'v0.1'));
      refuses(yaml, /./, 'v0.2');
    }
  });

  it('refuses what is not YAML', () => {
    refuses('tasks: [', /./);
    refuses('a: 1\na: 2', /unique/);
  });
});

describe('a workflow of the original template', () => {
  it('is created for the machine of the original hardware data', async (test) => {
    const server = await startTinkServer();
    test.after(() => server.stop());
    server.pushHardware(hardwareJson(MACHINE_ONE));
    const workflowId = server.createWorkflow(server.createTemplate('flatcar-install', SEED), {
      machine1: '08:00:27:00:00:01',
    });
    assert.deepEqual(server.workflowIds(), [workflowId]);
  });
});
