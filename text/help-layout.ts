import { type Command, Help, type HelpConfiguration } from 'commander';
import { wrapText } from './wrap.ts';

/** Descriptions narrower than this stand below their options. */
const minDescriptionColumns = 40;

/**
 * How commander lays out a help of this width: no line is longer. On a narrow terminal the
 * description of an option stands below it.
 */
export function helpLayout(columns: number): HelpConfiguration {
  const standard = new Help();
  return {
    helpWidth: columns,
    formatItem(term: string, termWidth: number, description: string, helper: Help) {
      const isWide = columns - termWidth - 4 >= minDescriptionColumns;
      if (isWide) return standard.formatItem.call(helper, term, termWidth, description, helper);
      return [...indented(term, 2), ...indented(description, 6)].join('\n');
    },
    formatHelp(command: Command, helper: Help) {
      const lines = standard.formatHelp.call(helper, command, helper).split('\n');
      return lines.flatMap((line) => wrapText(line, columns)).join('\n');
    },
  };

  function indented(text: string, indent: number): string[] {
    const width = Math.max(1, columns - indent);
    return wrapText(text, width).map((line) => `${' '.repeat(Math.min(indent, columns - 1))}${line}`);
  }
}
