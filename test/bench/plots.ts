import { type Figures, type InstallMetric, installWays, type PublishedPart, shownPhases } from './figures-page.ts';
import { type Bar, drawPlot, type Segment } from './plot.ts';

/** @returns the files of docs/figures/ by name: plots as SVG. A part without figures has none. */
export function plots(figures: Figures): ReadonlyMap<string, string> {
  const files = { 'sizes.svg': sizes(figures), 'phases.svg': phases(figures), 'install.svg': install(figures) };
  return new Map(Object.entries(files).flatMap(([name, svg]) => (svg === undefined ? [] : [[name, svg]])));
}

function sizes({ sizes: run, published = [] }: Figures): string | undefined {
  if (run === undefined) return undefined;
  const colours: Record<PublishedPart, Segment['colour']> = {
    initramfs: 0,
    kernel: 1,
    modules: 2,
    'kernel and initramfs': 0,
  };
  const megabytes = (what: PublishedPart) => (run.sizes.find((size) => size.what === what)?.bytes ?? 0) / 1e6;
  const ours = (['kernel', 'initramfs'] as const).map((what) => ({ what, megabytes: megabytes(what) }));
  const bars = [{ image: 'nibs', parts: ours }, ...published].map(({ image, parts }): Bar => {
    const segments = parts.map(({ what, megabytes }) => ({ size: megabytes, colour: colours[what] }));
    return { name: image, segments, text: `${segments.reduce((sum, { size }) => sum + size, 0).toFixed(0)} MB` };
  });
  return drawPlot({
    title: 'Boot images for x86-64: what a machine loads',
    legend: ['initramfs', 'kernel', 'modules'],
    groups: [{ bars }],
  });
}

function phases({ phases: run }: Figures): string | undefined {
  if (run === undefined) return undefined;
  let start = 0;
  const bars = shownPhases(run.phases).map(({ name, seconds }): Bar => {
    const bar = { name, start, segments: [{ size: seconds, colour: 0 as const }], text: `${seconds.toFixed(1)} s` };
    start += seconds;
    return bar;
  });
  return drawPlot({ title: `From power-on to the login: ${start.toFixed(0)} s (${run.host})`, groups: [{ bars }] });
}

function install({ install: run }: Figures): string | undefined {
  if (run === undefined) return undefined;
  const ways = installWays(run.rows);
  const group = (heading: string, metric: InstallMetric) => ({
    heading,
    bars: Object.entries(ways).flatMap(([name, of]): Bar[] => {
      const seconds = of(metric);
      if (seconds === undefined) return [];
      const colour = name.startsWith('pipeline') ? 1 : 0;
      return [
        { name: name.replaceAll('`', ''), segments: [{ size: seconds, colour }], text: `${seconds.toFixed(1)} s` },
      ];
    }),
  });
  return drawPlot({
    title: `Installing an image (${run.host})`,
    legend: ['flatcar-install', 'native tools'],
    groups: [group('wall time', 'wall'), group('processor time', 'cpu')],
  });
}
