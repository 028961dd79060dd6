import { z } from 'zod';

/** Where figures come from. */
const runSchema = z.object({ commit: z.string(), host: z.string() });
export type Run = z.infer<typeof runSchema>;

const rowSchema = z.object({
  bench: z.string(),
  metric: z.string(),
  unit: z.enum(['s', 'seconds', 'bytes', 'share']),
  ours: z.number(),
  rival: z.string(),
  rivalValue: z.number(),
  ratio: z.number(),
});
type Row = z.infer<typeof rowSchema>;

const phaseSchema = z.object({ name: z.string(), seconds: z.number() });
type Phase = z.infer<typeof phaseSchema>;
const sizeSchema = z.object({ what: z.string(), bytes: z.number() });
/** Sizes that others have published, in 10^6 bytes. */
const publishedSchema = z.object({
  image: z.string(),
  parts: z.array(
    z.object({ what: z.enum(['kernel', 'initramfs', 'modules', 'kernel and initramfs']), megabytes: z.number() }),
  ),
  source: z.string(),
  date: z.iso.date(),
});
export type PublishedPart = z.infer<typeof publishedSchema>['parts'][number]['what'];

const measurementSchema = runSchema.extend({ rows: z.array(rowSchema) });

const figuresSchema = z.object({
  sizes: runSchema.extend({ sizes: z.array(sizeSchema) }).optional(),
  /** Of other boot images; written by hand. */
  published: z.array(publishedSchema).optional(),
  phases: runSchema.extend({ phases: z.array(phaseSchema) }).optional(),
  executable: measurementSchema.optional(),
  install: measurementSchema.optional(),
  decompress: measurementSchema.optional(),
  agent: measurementSchema.optional(),
});
/** What docs/figures.json holds: the figures of each part, and the run that they come from. */
export type Figures = z.infer<typeof figuresSchema>;

export function readFigures(text: string): Figures {
  return figuresSchema.parse(JSON.parse(text));
}

/** What a benchmark writes into the file named by BENCH_JSON. */
export function readRows(text: string): Row[] {
  return z.array(rowSchema).parse(JSON.parse(text));
}

/** What the demo writes into the file named by DEMO_JSON. */
export function readDemo(text: string) {
  return z.object({ phases: z.array(phaseSchema), sizes: z.array(sizeSchema) }).parse(JSON.parse(text));
}

/** Renders docs/figures.md. Parts without figures are left out. */
export function figuresPage(figures: Figures): string {
  const sections = [
    sizes(figures),
    phases(figures),
    startUp(figures),
    install(figures),
    decompress(figures),
    agent(figures),
  ];
  return `# Figures

<!-- made by \`make figures\` from docs/figures.json -->

Each section names the command that prints its figures, the commit and the machine. \`make figures\`
runs all of them and writes this page and its plots. Without KVM the virtual machine is emulated:
everything in it runs about ten times slower than on hardware.

${sections.filter((section) => section !== '').join('\n')}`;
}

function sizes({ sizes: run, published = [] }: Figures): string {
  if (run === undefined) return '';
  const rows = run.sizes.map(({ what, bytes }) => [what, thousands(bytes), mebibytes(bytes)]);
  const ours = table(['size of', 'bytes', 'MiB'], rows);
  if (published.length === 0) return section('Sizes', 'make demo', run, ours);
  const others = published.map(({ image, parts, source, date }) => [
    image,
    parts.map(({ what, megabytes }) => `${what} ${megabytes}`).join(', '),
    source,
    date,
  ]);
  const text = `Below are sizes that other projects have published for x86-64; they were not measured here. Our
image contains the agent. With the others, the machine pulls the agent from a registry besides.`;
  const theirs = table(['image', 'MB (10^6 bytes)', 'source', 'date'], others);
  return section('Sizes', 'make demo', run, `${plot('sizes')}\n${ours}\n${text}\n\n${theirs}`);
}

function phases({ phases: run }: Figures): string {
  if (run === undefined) return '';
  const shown = shownPhases(run.phases);
  const rows = shown.map(({ name, seconds }) => [name, seconds.toFixed(1)]);
  const sum = shown.reduce((total, { seconds }) => total + seconds, 0);
  return section(
    'From power-on to the login',
    'make demo',
    run,
    `${plot('phases')}\n${table(['phase', 'seconds'], [...rows, ['all', sum.toFixed(1)]])}`,
  );
}

/** Without the start of the servers and the check of the disks. */
export function shownPhases(all: readonly Phase[]): readonly Phase[] {
  const from = all.findIndex(({ name }) => name.startsWith('power-on'));
  const to = all.findLastIndex(({ name }) => name.startsWith('ssh login'));
  return all.slice(from, to + 1);
}

function startUp({ executable: run }: Figures): string {
  if (run === undefined) return '';
  const commands = run.rows.filter(({ unit }) => unit === 's');
  const rows = commands.map(({ metric, ours }) => [`\`${metric}\``, milliseconds(ours)]);
  return section('Start-up of the executable', 'make measure', run, table(['command', 'ms'], rows));
}

function install({ install: run }: Figures): string {
  if (run === undefined) return '';
  const value = (metric: string) =>
    run.rows.find((row) => row.bench === 'install-image' && row.metric === metric)?.ours;
  const ways = installWays(run.rows);
  const base = ways['pipeline with lbzip2'];
  const rows = Object.entries(ways).map(([name, of]) => [
    name,
    number(of('wall'), 1),
    number(of('cpu'), 1),
    mebibytes(of('peak_rss'), 0),
    megabytes(of('bytes_written')),
    quotient(of('wall'), base('wall')),
    quotient(of('cpu'), base('cpu')),
  ]);
  const head = ['', 'wall s', 'CPU s', 'peak MiB', 'MB written', 'wall ratio', 'CPU ratio'];
  const stages = run.rows.filter(({ bench }) => bench === 'install-stages').sort((a, b) => b.ours - a.ours);
  const image = `An image of ${megabytes(value('size'))} MB (${megabytes(value('compressed'))} MB compressed)
from an HTTP server on loopback onto a loop device, until it is on the disk. The pipeline is
\`wget | tee >(… | dd bs=1M) | gpg --verify\`. Medians.`;
  const bound = `Each stage alone: ${stages.map(({ metric, ours: seconds }) => `${metric} ${seconds.toFixed(1)} s`).join(', ')}.\n`;
  return section(
    'Installing an image',
    'make bench-install',
    run,
    `${image}\n\n${plot('install')}\n${table(head, rows)}\n${bound}`,
  );
}

export type InstallMetric = 'wall' | 'cpu' | 'peak_rss' | 'bytes_written';

/** What `make bench-install` compares, with a function for its figures each. */
export function installWays(rows: readonly Row[]) {
  const ours = (bench: string) => (metric: InstallMetric) =>
    rows.find((row) => row.bench === bench && row.metric === metric)?.ours;
  const rival = (name: string) => (metric: InstallMetric) =>
    rows.find((row) => row.rival === name && row.metric === metric)?.rivalValue;
  return {
    'flatcar-install': ours('install'),
    'pipeline with lbzip2': rival('lbzip2 pipeline'),
    'flatcar-install, `--no-zero-offload`': ours('install-no-offload'),
    'pipeline with bzip2': rival('bzip2 pipeline'),
  };
}

function decompress({ decompress: run }: Figures): string {
  if (run === undefined) return '';
  const rivals = [...new Set(run.rows.map(({ rival }) => rival))];
  const find = (rival: string, metric: string) => run.rows.find((row) => row.rival === rival && row.metric === metric);
  const line = (name: string, of: (metric: string) => number | undefined) => [
    name,
    number(of('wall'), 2),
    number(of('cpu'), 2),
    mebibytes(of('peak_rss'), 0),
  ];
  const rows = [
    line('ours', (metric) => find(rivals[0] ?? '', metric)?.ours),
    ...rivals.map((rival) => line(rival, (metric) => find(rival, metric)?.rivalValue)),
  ];
  return section('Decoding an image', 'make bench-decompress', run, table(['', 'wall s', 'CPU s', 'peak MiB'], rows));
}

function agent({ agent: run }: Figures): string {
  if (run === undefined) return '';
  const value = (metric: string) => run.rows.find((row) => row.metric === metric);
  const servers = run.rows.flatMap(({ metric }) => /^action_time_(.+)$/.exec(metric)?.[1] ?? []);
  const rows = servers.map((server) => {
    const time = value(`action_time_${server}`);
    const report = value(`end_to_report_${server}`);
    const overhead = time && time.ours - time.rivalValue;
    return [server, ...[time?.ours, time?.rivalValue, overhead, report?.ours].map(milliseconds)];
  });
  const head = ['server', 'action', '`docker run`', 'overhead', 'from its end to its report'];
  const goAgents = run.rows.flatMap(({ metric, unit, ours, rival, rivalValue }) => {
    const [, what, server] = /^beside_go_(.+)_([^_]+)$/.exec(metric) ?? [];
    if (what === undefined || server === undefined) return [];
    return [[`\`${what}\``, server, withUnit(ours, unit), withUnit(rivalValue, unit), rival]];
  });
  const rest = run.rows.filter(({ metric }) => !servers.some((server) => metric.endsWith(`_${server}`)));
  const others = rest.map(({ metric, unit, ours }) => [`\`${metric}\``, withUnit(ours, unit)]);
  const text = `Workflows of actions that do nothing, alternating with \`docker run\` of the same container;
medians in milliseconds.`;
  const tables = [table(head, rows), table(['metric', 'value'], others)];
  if (goAgents.length > 0) tables.push(table(['beside the Go agents', 'server', 'ours', 'theirs', ''], goAgents));
  const body = `${text}\n\n${tables.join('\n')}`;
  return section('What the agent costs', 'make bench-agent', run, body);
}

function section(title: string, command: string, { commit, host }: Run, body: string): string {
  return `## ${title}\n\n\`${command}\` at ${commit}; ${host}.\n\n${body}`;
}

/** @param name of a file that plots() makes */
function plot(name: 'sizes' | 'phases' | 'install'): string {
  const texts = {
    sizes: 'Sizes of boot images, as in the tables below',
    phases: 'Phases from power-on to the login, one after the other, as in the table below',
    install: 'Wall and processor time of an installation, as in the table below',
  };
  return `![${texts[name]}](figures/${name}.svg)\n`;
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |\n`;
  return `${line(head)}|${'---|'.repeat(head.length)}\n${rows.map(line).join('')}`;
}

function withUnit(value: number, unit: Row['unit']): string {
  if (unit === 'bytes') return `${mebibytes(value)} MiB`;
  return unit === 'share' ? `${(value * 100).toFixed(2)} % of a core` : `${value.toFixed(3)} s`;
}

function number(value: number | undefined, digits: number): string {
  return value === undefined ? '' : value.toFixed(digits);
}

function quotient(a: number | undefined, b: number | undefined): string {
  return a === undefined || b === undefined ? '' : (a / b).toFixed(2);
}

function thousands(value: number): string {
  return value.toLocaleString('en-US');
}

function milliseconds(seconds: number | undefined): string {
  return seconds === undefined ? '' : (seconds * 1000).toFixed(0);
}

function megabytes(bytes: number | undefined): string {
  return bytes === undefined ? '' : thousands(Math.round(bytes / 1e6));
}

function mebibytes(bytes: number | undefined, digits = 1): string {
  return bytes === undefined ? '' : (bytes / 2 ** 20).toFixed(digits);
}
