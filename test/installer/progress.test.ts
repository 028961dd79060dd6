import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createReport, type ReportOptions } from '../../installer/progress.ts';
import { VirtualClock } from '../sandbox/virtual-clock.ts';

const total = 100_000_000;

/** Reports a download of `total` bytes in pieces of 100 kB at `bytesPerSecond`. */
function transfer(style: ReportOptions['style'], bytesPerSecond: number, columns = 80): string[] {
  const written: string[] = [];
  const clock = new VirtualClock();
  const output = { write: (text: string) => written.push(text) };
  const report = createReport({ style, verbose: false, output, columns: () => columns, clock });
  report.phase('write', 'Writing the image');
  for (let doneBytes = 100_000; doneBytes <= total; doneBytes += 100_000) {
    clock.advance(100_000 / bytesPerSecond);
    report.transferred(doneBytes, total);
  }
  report.warn('the end');
  return written;
}

test('createReport() writes a line every 5 % to a log, and ends with 100 %', () => {
  const lines = transfer('lines', 2_000_000);
  assert.equal(lines[0], 'Writing the image\n');
  assert.match(lines[1] ?? '', /^ {4}5 % of 100\.0 MB, 2\.0 MB\/s, 0:4[78] left\n$/);
  assert.deepEqual(lines.slice(-2), ['  100 % of 100.0 MB, 2.0 MB/s\n', 'Warning: the end\n']);
  assert.equal(lines.length, 22);
});

test('createReport() writes at most a line a second to a log on a fast link, and one every ten seconds on a slow one', () => {
  assert.ok(transfer('lines', 200_000_000).length <= 4);
  const slow = transfer('lines', 100_000);
  assert.ok(slow.length > 95 && slow.length < 125, `${slow.length} lines`);
  assert.match(slow.join(''), / {4}1 % of 100\.0 MB, 100\.0 kB\/s, 16:\d\d left/);
});

test('createReport() draws one bar on a terminal that never exceeds its width', () => {
  for (const columns of [200, 80, 50, 40, 20, 10]) {
    const written = transfer('terminal', 10_000_000, columns);
    const frames = written.filter((text) => text.startsWith('\r') && text.includes('%'));
    assert.ok(frames.length > 50 && frames.length < 120, `${frames.length} frames`);
    for (const frame of frames) assert.ok(frame.replaceAll('\r', '').length < columns, frame);
    assert.ok(!written.join('').includes('\x1b'), 'no escape sequences');
  }
  const text = transfer('terminal', 10_000_000).join('');
  assert.match(text, /\[={20,} +\] {2}\d\d % of 100\.0 MB, 10\.0 MB\/s, 0:0\d left/);
  assert.match(text, /100 % of 100\.0 MB, 10\.0 MB\/s\S*\nWarning: the end\n$/);
});

test('createReport() takes the bar away before it writes a line', () => {
  const written: string[] = [];
  const report = createReport({
    style: 'terminal',
    verbose: false,
    output: { write: (text) => written.push(text) },
    clock: new VirtualClock(),
  });
  report.transferred(10, 100);
  report.warn('look out');
  const [bar = ''] = written;
  assert.deepEqual(written.slice(1), [`\r${' '.repeat(bar.length - 1)}\r`, 'Warning: look out\n']);
});

test('createReport() covers all of the line before when the progress becomes shorter', () => {
  const written: string[] = [];
  const output = { write: (text: string) => written.push(text) };
  const clock = new VirtualClock();
  const report = createReport({ style: 'terminal', verbose: false, output, clock, columns: () => 45 });
  report.phase('write', 'Writing');
  for (const doneBytes of [10e6, 90e6]) {
    clock.advance(100);
    report.transferred(doneBytes, total);
  }
  const [, first = '', second = ''] = written;
  assert.match(first, /15:00 left$/);
  assert.match(second, /0:13 left +$/);
  assert.equal(second.length, first.length);
});

test('createReport() shortens the lines of a terminal that is dumb', () => {
  for (const columns of [40, 20, 10]) {
    const lines = transfer('lines', 2_000_000, columns).filter((line) => line.includes('%'));
    assert.ok(lines.length > 15);
    for (const line of lines) assert.ok(line.trimEnd().length < columns, line);
  }
});

test('createReport() writes one JSON object a line', () => {
  const events = transfer('json', 10_000_000).map((line) => JSON.parse(line));
  assert.deepEqual(events[0], { event: 'phase', phase: 'write', message: 'Writing the image' });
  assert.deepEqual(events[1], {
    event: 'progress',
    phase: 'write',
    doneBytes: 10_000_000,
    totalBytes: total,
    bytesPerSecond: 10_000_000,
    secondsLeft: 9,
  });
  assert.deepEqual(events.at(-1), { event: 'warning', phase: 'write', message: 'the end' });
  assert.equal(events.length, 12);
});

test('createReport() reports the speed of the last seconds, not the average since the start', () => {
  const written: string[] = [];
  const clock = new VirtualClock();
  const report = createReport({
    style: 'json',
    verbose: false,
    output: { write: (text) => written.push(text) },
    clock,
  });
  report.phase('write', '');
  let doneBytes = 0;
  for (const [seconds, bytesPerSecond] of [
    [20, 10_000_000],
    [10, 1_000_000],
  ] as const) {
    for (let second = 0; second < seconds; second++) {
      clock.advance(1);
      doneBytes += bytesPerSecond;
      report.transferred(doneBytes, 1e9);
    }
  }
  assert.equal(JSON.parse(written.at(-1) ?? '').bytesPerSecond, 1_000_000);
});

test('createReport() tells bytes and speed where the length is not known, and details only when asked', () => {
  for (const verbose of [false, true]) {
    const written: string[] = [];
    const clock = new VirtualClock();
    const report = createReport({
      style: 'lines',
      verbose,
      output: { write: (text) => written.push(text) },
      clock,
    });
    report.phase('download', 'Downloading');
    clock.advance(10);
    report.transferred(50_000_000, undefined);
    report.detail('by the way');
    assert.deepEqual(written, ['Downloading\n', '  50.0 MB, 5.0 MB/s\n', ...(verbose ? ['by the way\n'] : [])]);
  }
});
