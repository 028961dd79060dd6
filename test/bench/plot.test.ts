import assert from 'node:assert/strict';
import { test } from 'node:test';
import { drawPlot } from './plot.ts';

/** Left edge and width of each bar. */
function boxes(svg: string): (readonly [number, number])[] {
  return [...svg.matchAll(/<rect class="c\d" x="([\d.]+)" y="[\d.]+" width="([\d.]+)"/g)].map(
    ([, x, width]) => [Number(x), Number(width)] as const,
  );
}

test('drawPlot() draws all bars on one scale', () => {
  const bar = (size: number) => ({ name: 'n', text: 't', segments: [{ size, colour: 0 as const }] });
  const svg = drawPlot({ title: 'title', groups: [{ bars: [bar(10)] }, { heading: 'more', bars: [bar(40), bar(0)] }] });
  const [[, ten] = [0, 0], [, forty] = [0, 0], [, none] = [0, 1]] = boxes(svg);
  assert.ok(Math.abs(forty - 4 * ten) < 0.5, `${forty} is not 4 times ${ten}`);
  assert.equal(none, 0);
});

test('drawPlot() puts a segment where the one before it ends, and the first at the start of the bar', () => {
  const segments = [
    { size: 3, colour: 0 as const },
    { size: 2, colour: 1 as const },
  ];
  const before = { name: 'a', text: '5', segments: [{ size: 5, colour: 2 as const }] };
  const svg = drawPlot({ title: 'title', groups: [{ bars: [before, { name: 'b', text: '5', start: 5, segments }] }] });
  const [[x0, w0] = [0, 0], [x1, w1] = [0, 0], [x2] = [0, 0]] = boxes(svg);
  assert.ok(Math.abs(x0 + w0 - x1) < 0.2);
  assert.ok(Math.abs(x1 + w1 - x2) < 0.2);
});

test('drawPlot() keeps texts from becoming markup', () => {
  const svg = drawPlot({
    title: 'a & b',
    groups: [{ bars: [{ name: '<i>', text: '1', segments: [{ size: 1, colour: 0 }] }] }],
  });
  assert.match(svg, /a &amp; b/);
  assert.match(svg, />&lt;i&gt;</);
});
