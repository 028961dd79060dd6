/** Renders rows as a table with a frame, as `tink workflow events` printed its own. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((title, column) => Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)));
  const line = `+${widths.map((width) => '-'.repeat(width + 2)).join('+')}+`;
  const render = (row: readonly string[]) =>
    `|${widths.map((width, column) => ` ${(row[column] ?? '').padEnd(width)} `).join('|')}|`;
  return `${[line, render(head), line, ...rows.map(render), line].join('\n')}\n`;
}
