import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { figuresPage, readDemo, readFigures, readRows } from './figures-page.ts';
import { plots } from './plots.ts';
import { alone } from './rows.ts';

const folder = join(import.meta.dirname, '../../docs');
const run = { commit: 'abc1234', host: '2 cores, KVM' };

test('docs/figures.md is made from docs/figures.json', () => {
  const data = readFigures(readFileSync(join(folder, 'figures.json'), 'utf8'));
  assert.equal(
    readFileSync(join(folder, 'figures.md'), 'utf8'),
    figuresPage(data),
    'run: node test/bench/figures.ts --page',
  );
});

test('the plots in docs/figures are made from docs/figures.json, and the page shows each', () => {
  const made = plots(readFigures(readFileSync(join(folder, 'figures.json'), 'utf8')));
  const page = readFileSync(join(folder, 'figures.md'), 'utf8');
  assert.deepEqual(readdirSync(join(folder, 'figures')).sort(), [...made.keys()].sort());
  for (const [name, svg] of made) {
    assert.equal(readFileSync(join(folder, 'figures', name), 'utf8'), svg, 'run: node test/bench/figures.ts --page');
    assert.ok(page.includes(`](figures/${name})`), name);
  }
});

test('plots() compares boot images by what was published, with source and date on the page', () => {
  const sizes = {
    ...run,
    sizes: [
      { what: 'kernel', bytes: 8e6 },
      { what: 'initramfs', bytes: 80e6 },
    ],
  };
  const published = readFigures(
    JSON.stringify({
      published: [
        { image: 'Other', parts: [{ what: 'initramfs', megabytes: 120 }], source: 'a page', date: '2026-01-02' },
      ],
    }),
  ).published;
  const figures = { sizes, published };
  const svg = plots(figures).get('sizes.svg') ?? '';
  assert.match(svg, />nibs<[\s\S]*>88 MB<[\s\S]*>Other<[\s\S]*>120 MB</);
  assert.match(figuresPage(figures), /\| Other \| initramfs 120 \| a page \| 2026-01-02 \|/);
  assert.deepEqual([...plots({}).keys()], []);
});

test('figuresPage() shows rows of a benchmark with their run, and no section without figures', () => {
  const rows = readRows(JSON.stringify([alone('executable', 'tink-agent --help', 's', 0.1234)]));
  const page = figuresPage({ executable: { ...run, rows } });
  assert.match(page, /`make measure` at abc1234; 2 cores, KVM\./);
  assert.match(page, /\| `tink-agent --help` \| 123 \|/);
  assert.deepEqual(page.match(/^## .+$/gm), ['## Start-up of the executable']);
});

test('figuresPage() compares with the pipeline of lbzip2', () => {
  const compared = {
    bench: 'install',
    metric: 'wall',
    unit: 's',
    ours: 5,
    rival: 'lbzip2 pipeline',
    rivalValue: 20,
    ratio: 0.25,
  };
  const page = figuresPage({ install: { ...run, rows: readRows(JSON.stringify([compared])) } });
  assert.match(page, /\| flatcar-install \| 5\.0 \|.* 0\.25 \|/);
  assert.match(page, /\| pipeline with lbzip2 \| 20\.0 \|.* 1\.00 \|/);
});

test('figuresPage() adds up what is between power-on and login, and nothing else', () => {
  const names = ['provisioner: registry', 'power-on, PXE', 'first boot', 'ssh login as core', 'disks'];
  const text = JSON.stringify({
    seconds: 31,
    phases: names.map((name, at) => ({ name, ok: true, seconds: 2 ** at })),
    sizes: [],
  });
  const page = figuresPage({ phases: { ...run, ...readDemo(text) } });
  assert.match(page, /\| all \| 14\.0 \|/);
  assert.doesNotMatch(page, /provisioner|disks/);
});

test('figuresPage() shows the Go agents where they were measured', () => {
  const row = {
    ...{ bench: 'agent', unit: 'seconds', rival: 'tink-worker v0.6.0', ratio: 0.5 },
    ...{ metric: 'beside_go_action_time_v0.2', ours: 0.15, rivalValue: 0.3 },
  };
  const page = figuresPage({ agent: { ...run, rows: readRows(JSON.stringify([row])) } });
  assert.match(page, /\| `action_time` \| v0\.2 \| 0\.150 s \| 0\.300 s \| tink-worker v0\.6\.0 \|/);
});
