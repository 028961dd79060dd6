/** docs/operating.md, the dashboard and the alerts name the metrics that the agent has. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { createMetrics } from '../../agent/status/metrics.ts';
import { root } from './pages.ts';

interface Metric {
  readonly type: string;
  readonly help: string;
  readonly labels: readonly string[];
}

/** By name, as the agent's registry has them. */
let metrics: ReadonlyMap<string, Metric>;

before(async () => {
  const build = { version: '1', commit: 'c', node: 'v24' };
  const created = createMetrics({ build, dialect: () => 'current' });
  created.observe({ kind: 'asked', answer: 'idle', reason: '' });
  created.observe({
    kind: 'ended',
    action: { workflowId: 'w', taskName: 't', name: 'a', id: 'i' },
    verdict: 'SUCCESS',
    seconds: 1,
    message: '',
  });
  const text = await created.text();
  metrics = new Map(
    [...text.matchAll(/^# HELP (\w+) (.*)\n# TYPE \w+ (\w+)$/gm)].map(([, name = '', help = '', type = '']) => [
      name,
      { type, help, labels: labelsOf(text, name) },
    ]),
  );
  assert.ok(metrics.size > 10);
});

/** Of its samples. A machine of a test may have no sensor. */
function labelsOf(text: string, name: string): string[] {
  const samples = [...text.matchAll(new RegExp(`^${name}(?:_bucket)?\\{(.*)\\} `, 'gm'))];
  const names = samples.flatMap(([, labels = '']) => [...labels.matchAll(/(\w+)="/g)].map(([, label = '']) => label));
  return [...new Set(name.includes('temperature') ? ['sensor'] : names)];
}

test('docs/operating.md has each metric with its type, its labels and its meaning, and no other', async () => {
  const page = await readFile(join(root, 'docs/operating.md'), 'utf8');
  const rows = page.match(/^\| `nibs_.*$/gm) ?? [];
  const wanted = [...metrics].map(([name, { type, help, labels }]) => {
    const shown = labels.map((label) => `\`${label}\``).join(', ');
    return `| \`${name}\` | ${type} | ${shown === '' ? '' : `${shown} `}| ${help} |`;
  });
  assert.deepEqual(rows.toSorted(), wanted.toSorted());
});

/** Metrics and labels that a query names and the agent does not have. */
function unknownIn(query: string): string[] {
  const bare = (name: string) => (metrics.has(name) ? name : name.replace(/_(?:bucket|sum|count)$/, ''));
  const names = [...query.matchAll(/\bnibs_\w+/g)].map(([name]) => name);
  const of = names.flatMap((name) => metrics.get(bare(name))?.labels ?? []);
  const known = new Set([...of, 'instance', 'job']);
  const labels = [
    ...[...query.matchAll(/[{,]\s*(\w+)\s*[=!]/g)].map(([, label = '']) => label),
    ...[...query.matchAll(/\b(?:by|on) \(([^)]*)\)/g)].flatMap(([, list = '']) => list.split(/,\s*/)),
  ];
  return [
    ...names.filter((name) => !metrics.has(bare(name))),
    ...names.filter((name) => bare(name) !== name && metrics.get(bare(name))?.type !== 'histogram'),
    ...labels.filter((label) => !known.has(label)),
  ];
}

test('the queries of the dashboard name metrics and labels that exist, and each metric is in it', async () => {
  const dashboard = z
    .object({ panels: z.array(z.object({ title: z.string(), targets: z.array(z.object({ expr: z.string() })) })) })
    .parse(JSON.parse(await readFile(join(root, 'docs/grafana-dashboard.json'), 'utf8')));
  const queries = dashboard.panels.flatMap(({ targets }) => targets.map(({ expr }) => expr));
  assert.ok(queries.length > 10);
  for (const query of queries) assert.deepEqual(unknownIn(query), [], query);
  const unused = [...metrics.keys()].filter((name) => !queries.some((query) => query.includes(name)));
  assert.deepEqual(unused, []);
});

test('the alerts name metrics and labels that exist, and each has its row in docs/operating.md', async () => {
  const rule = z.object({ alert: z.string(), expr: z.string(), annotations: z.object({ summary: z.string() }) });
  const { groups } = z
    .object({ groups: z.array(z.object({ rules: z.array(rule) })) })
    .parse(parse(await readFile(join(root, 'docs/prometheus-alerts.yaml'), 'utf8')));
  const rules = groups.flatMap((group) => group.rules);
  assert.ok(rules.length > 4);
  for (const { expr } of rules) assert.deepEqual(unknownIn(expr), [], expr);
  const page = await readFile(join(root, 'docs/operating.md'), 'utf8');
  const rows = [...page.matchAll(/^\| (Nibs\w+) \|/gm)].map(([, name]) => name);
  assert.deepEqual(
    rows,
    rules.map(({ alert }) => alert),
  );
});

test('a query with an unknown metric or label is found', () => {
  assert.deepEqual(unknownIn('rate(nibs_no_such_total[5m])'), ['nibs_no_such_total']);
  assert.deepEqual(unknownIn('nibs_actions_total{result="FAILED"}'), ['result']);
  assert.deepEqual(unknownIn('rate(nibs_polls_total_bucket[5m])'), ['nibs_polls_total_bucket']);
});
