/**
 * Breaks each line of a text at spaces, and words that are longer than a line anywhere.
 * @param width longest line, in characters, at least 1
 */
export function wrapText(text: string, width: number): string[] {
  return text.split('\n').flatMap((line) => (line.length <= width ? [line] : wrapLine(line, width)));
}

function wrapLine(text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (let word of text.split(/ +/)) {
    if (line !== '' && line.length + 1 + word.length <= width) {
      line += ` ${word}`;
      continue;
    }
    if (line !== '') lines.push(line);
    for (; word.length > width; word = word.slice(width)) lines.push(word.slice(0, width));
    line = word;
  }
  return line === '' ? lines : [...lines, line];
}
