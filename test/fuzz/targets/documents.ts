/** Documents of the agent: templates, lists of actions, journals. */
import { type Journal, openJournal } from '../../../agent/journal.ts';
import type { JournalStorage } from '../../../agent/journal-storage.ts';
import { TemplateEngine } from '../../../agent/template/engine/engine.ts';
import { TemplateError } from '../../../agent/template/problem.ts';
import { readTemplate } from '../../../agent/template/template.ts';
import { ActionListError, readActionList } from '../../../agent/transport/nats/action-list.ts';
import { wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

let loading: Promise<TemplateEngine> | undefined;

const templateWords = [
  ...[
    '{{',
    '}}',
    '{{.',
    '{{ .a }}',
    '{{- ',
    ' -}}',
    '{{if ',
    '{{range ',
    '{{end}}',
    '{{define "a"}}',
    '{{template "a" .}}',
  ],
  ...[
    '| quote',
    '| toYaml',
    'formatPartition',
    '.hardware',
    '.Hardware.Disks',
    'index ',
    'printf "%1000000d" 1',
    'repeat 100000 "a"',
  ],
  ...[
    '&a ',
    '*a',
    '<<: *a',
    '- ',
    ': ',
    '\n  ',
    '\t',
    'name: ',
    'tasks:',
    'actions:',
    'image: ',
    '!!binary ',
    '? ',
    '|\n',
    '---\n',
  ],
];
const template = [
  ...[
    'version: "0.1"',
    'name: t',
    'global_timeout: 600',
    'tasks:',
    '- name: a',
    '  worker: "{{.device_1}}"',
    '  volumes: [/dev:/dev]',
  ],
  ...[
    '  actions:',
    '  - name: b',
    '    image: quay.io/a/b:v1',
    '    timeout: 9',
    '    command: [a, b]',
    '    environment:',
  ],
  ...['      A: b', '      C: {{ index .hardware.disks 0 }}'],
].join('\n');
const hardware = 'spec:\n  disks:\n  - device: /dev/sda\n  interfaces:\n  - dhcp: {mac: "08:00:27:00:00:01"}\n';

/** A template, and behind a line `=====` the hardware. */
export const templateTarget: Target = {
  name: 'template',
  seeds: [
    template,
    `${template}\n=====\n${hardware}`,
    'name: {{ .a',
    '{{range $i := until 3}}- {{$i}}\n{{end}}',
    '[[[[',
    '- '.repeat(8000),
    '&a [*a]',
  ],
  generated: wordsOf(templateWords, 20),
  words: templateWords,
  maxBytes: 16 * 1024,
  refusals: [TemplateError],
  // A template may be a loop, and an engine that broke is loaded anew.
  baseSeconds: 20,
  microsecondsPerByte: 500,
  async check(input) {
    loading ??= TemplateEngine.load();
    const [text = '', content = ''] = input.toString().split('\n=====\n');
    const data = { variables: { device_1: '08:00:27:00:00:01', a: 'b' }, hardware: { path: 'hardware.yaml', content } };
    try {
      const read = () => readTemplate(engine, text, data, 'template.yaml');
      const engine = await loading;
      const { template, warnings } = read();
      require(template.tasks.length > 0, () => 'a template without tasks');
      for (const { line, column } of warnings) require(line > 0 && column > 0, () => `a warning at ${line}:${column}`);
    } catch (error) {
      // A broken engine can answer no more.
      if (error instanceof TemplateError && error.cause !== undefined) loading = undefined;
      if (error instanceof TemplateError)
        for (const { line, column } of error.problems)
          require(line > 0 && column > 0, () => `a problem at ${line}:${column}`);
      throw error;
    }
  },
};

const listKeys = [
  ...[
    'workflow_id',
    'task_id',
    'id',
    'name',
    'agent_id',
    'worker_id',
    'image',
    'cmd',
    'args',
    'env',
    'volumes',
    'namespaces',
  ],
  ...['retries', 'timeoutSeconds', 'key', 'value', 'network', 'pid'],
];
const listWords = [
  ...listKeys.map((key) => `${key}: `),
  '- ',
  '\n  ',
  '[',
  ']',
  '{',
  '}',
  '&a ',
  '*a',
  '<<: ',
  '? ',
  '"',
  "'",
  '|',
  '>',
];

export const actionListTarget: Target = {
  name: 'nats-list',
  seeds: [
    '- workflow_id: w\n  id: "1"\n  name: a\n  image: alpine\n  args: [a]\n  env: [{key: A, value: b}]\n  timeoutSeconds: 5\n  retries: 2\n',
    '[{"id":"1","name":"a","image":"quay.io/a/b","cmd":"sh","namespaces":{"network":"host"}}]',
    '- &a {image: x, <<: *a}\n- *a\n',
    '['.repeat(6000),
    `- ${'{<<: '.repeat(6000)}`,
  ],
  generated: wordsOf(listWords, 30),
  words: listWords,
  refusals: [ActionListError],
  // Aliases may stand for 100,000 values.
  microsecondsPerByte: 100,
  check(input) {
    const { actions } = readActionList(input.toString(), { workerId: 'w', listId: 'l', source: 'list' });
    require(actions.length > 0 && actions.length <= 1000, () => `${actions.length} actions`);
    const ids = new Set(actions.map(({ action }) => JSON.stringify([action.workflowId, action.id])));
    require(ids.size === actions.length, () => 'two actions with the same id');
    for (const { attempts, action } of actions) {
      require(attempts >= 1, () => `${attempts} attempts`);
      require((action.timeoutSeconds ?? 1) > 0 && action.image !== '', () => JSON.stringify(action).slice(0, 500));
    }
  },
};

const action = { workflowId: 'w', taskName: 't', name: 'a', id: '1', workerId: 'm', image: 'i' };
const outcome = { verdict: 'FAILED', message: 'm', startedAt: '2026-01-01T00:00:00Z', endedAt: '2026-01-01T00:00:01Z' };
const records = [
  { record: 'started', at: '2026-01-01T00:00:00Z', action },
  { record: 'ended', action, outcome },
  { record: 'acknowledged', action, workflowDone: true },
  { record: 'forgotten', workflowId: 'w' },
  { record: 'finish-due' },
].map((record) => `${JSON.stringify(record)}\n`);

/** A file in memory. */
function storageOf(content: string): JournalStorage & { content(): string } {
  let text = content;
  return {
    content: () => text,
    async makeDirectory() {},
    async read() {
      return text;
    },
    async create() {
      text = '';
      return {
        async append(more) {
          text += more;
        },
        async sync() {},
        async close() {},
      };
    },
    async copy() {},
    async rename() {},
    async syncDirectory() {},
  };
}

const stateOf = (journal: Journal) => JSON.stringify([journal.pendingReports(), journal.powerActionPending()]);

export const journalTarget: Target = {
  name: 'journal',
  seeds: [records.slice(0, 2).join(''), records.slice(0, 3).join(''), records.join(''), `${records[0]}{"record":"en`],
  words: [...records, '"record":', '"__proto__":', '"at":"+275760-09-13"', '"startedAt":0'],
  async check(input) {
    const storage = storageOf(input.toString());
    await using journal = await openJournal('/state', () => {}, undefined, storage);
    await using again = await openJournal(
      '/state',
      (damage) => require(false, () => damage),
      undefined,
      storageOf(storage.content()),
    );
    require(stateOf(journal) === stateOf(again), () => `${stateOf(journal)} reads as ${stateOf(again)}`);
  },
};
