/** A part of a bar, in the unit of the plot. */
export interface Segment {
  readonly size: number;
  /** Index of the colour, and of the word in the legend if there is one. */
  readonly colour: 0 | 1 | 2;
}

/** A horizontal bar with its name and its value as text. */
export interface Bar {
  readonly name: string;
  readonly segments: readonly Segment[];
  readonly text: string;
  /** Where it begins. Default: 0. */
  readonly start?: number;
}

/** Bars on one scale, with headings. */
export interface Plot {
  readonly title: string;
  readonly groups: readonly { readonly heading?: string; readonly bars: readonly Bar[] }[];
  /** Words of the colours, from the first on. */
  readonly legend?: readonly string[];
}

const width = 860;
const nameWidth = 390;
/** Between the end of the longest bar and the border: for its text. */
const textWidth = 80;
const [rowHeight, barHeight, margin] = [24, 14, 16];

/**
 * The background is drawn too: a page with a dark theme may be shown by a browser with a light one.
 */
const style = `
    rect.page { fill: #ffffff; } text { fill: #1f2328; font: 13px sans-serif; } .title { font-weight: bold; } .name { text-anchor: end; }
    .c0 { fill: #1a7f64; } .c1 { fill: #8c959f; } .c2 { fill: #bf8700; } .axis { stroke: #8c959f; }
    @media (prefers-color-scheme: dark) {
      rect.page { fill: #0d1117; } text { fill: #e6edf3; }
      .c0 { fill: #3fb68b; } .c1 { fill: #768390; } .c2 { fill: #d29922; }
    }
  `;

/**
 * Draws a plot as SVG 1.1, the same bytes for the same input. Written here, because what draws
 * static SVG without a browser is far larger than three plots of bars: ECharts, Vega with
 * Vega-Lite, or a document model below Observable Plot.
 */
export function drawPlot({ title, groups, legend = [] }: Plot): string {
  const ends = groups.flatMap(({ bars }) => bars.map(({ start = 0, segments }) => start + total(segments)));
  const scale = (width - nameWidth - textWidth - margin) / Math.max(...ends);
  const elements: string[] = [];
  let y = margin + 14;
  elements.push(`<text class="title" x="${margin}" y="${y}">${escapeXml(title)}</text>`);
  y += rowHeight / 2;
  if (legend.length > 0) {
    elements.push(...drawLegend(legend, y));
    y += rowHeight;
  }
  for (const { heading, bars } of groups) {
    if (heading !== undefined) {
      elements.push(`<text x="${nameWidth}" y="${y + 17}">${escapeXml(heading)}</text>`);
      y += rowHeight;
    }
    elements.push(line(nameWidth, y, y + bars.length * rowHeight));
    for (const bar of bars) {
      elements.push(...drawBar(bar, y, scale));
      y += rowHeight;
    }
  }
  const size = `width="${width}" height="${y + margin}" viewBox="0 0 ${width} ${y + margin}"`;
  return `<svg xmlns="http://www.w3.org/2000/svg" ${size} role="img">
  <title>${escapeXml(title)}</title>
  <style>${style}</style>
  <rect class="page" width="100%" height="100%"/>
  ${elements.join('\n  ')}
</svg>
`;
}

function drawBar({ name, segments, text, start = 0 }: Bar, y: number, scale: number): string[] {
  const [textY, barY] = [y + 17, y + (rowHeight - barHeight) / 2];
  const elements = [`<text class="name" x="${nameWidth - 8}" y="${textY}">${escapeXml(name)}</text>`];
  let from = start;
  for (const { size, colour } of segments) {
    const box = `x="${round(nameWidth + from * scale)}" y="${barY}" width="${round(size * scale)}" height="${barHeight}"`;
    elements.push(`<rect class="c${colour}" ${box}/>`);
    from += size;
  }
  elements.push(`<text x="${round(nameWidth + from * scale + 6)}" y="${textY}">${escapeXml(text)}</text>`);
  return elements;
}

function drawLegend(words: readonly string[], y: number): string[] {
  return words.flatMap((word, at) => {
    const x = nameWidth + at * 130;
    return [
      `<rect class="c${at}" x="${x}" y="${y + 5}" width="12" height="${barHeight}"/>`,
      `<text x="${x + 18}" y="${y + 17}">${escapeXml(word)}</text>`,
    ];
  });
}

function line(x: number, from: number, to: number): string {
  return `<line class="axis" x1="${x}" y1="${from}" x2="${x}" y2="${to}"/>`;
}

function total(segments: readonly Segment[]): number {
  return segments.reduce((sum, { size }) => sum + size, 0);
}

function round(value: number): string {
  return value.toFixed(1);
}

function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}
