/** A text of a source file that is shown to people. */
export interface Text {
  /** `…` stands for what is put in; ends of lines are spaces. */
  readonly text: string;
  /** The source before it, on which it depends what becomes of it. */
  readonly before: string;
}

/**
 * The strings and templates of TypeScript source, without those in comments and regular
 * expressions.
 */
export function textsOf(source: string): Text[] {
  const texts: Text[] = [];
  scan(source, 0, '', texts);
  return texts;
}

/**
 * Reads code up to `end` (of a template's hole) or to the end of the source.
 * @returns the offset behind it
 */
function scan(source: string, start: number, end: string, texts: Text[]): number {
  let depth = 0;
  let offset = start;
  while (offset < source.length) {
    const character = source[offset] ?? '';
    if (end !== '' && depth === 0 && character === end) return offset + 1;
    if (source.startsWith('//', offset)) offset = indexOrEnd(source, '\n', offset);
    else if (source.startsWith('/*', offset)) offset = indexOrEnd(source, '*/', offset) + 2;
    else if (character === "'" || character === '"' || character === '`') offset = readText(source, offset, texts);
    else if (
      character === '/' &&
      /(^|[(,=:[!&|?{};]|\breturn)\s*$/.test(source.slice(Math.max(0, offset - 40), offset))
    )
      offset = endOfExpression(source, offset);
    else {
      if (character === '{') depth++;
      if (character === '}') depth--;
      offset++;
    }
  }
  return offset;
}

function readText(source: string, start: number, texts: Text[]): number {
  const quote = source[start];
  let text = '';
  let offset = start + 1;
  const inside: Text[] = [];
  while (source[offset] !== quote) {
    if (source[offset] === '\\') {
      text += source[offset + 1] === 'n' ? ' ' : (source[offset + 1] ?? '');
      offset += 2;
    } else if (quote === '`' && source.startsWith('${', offset)) {
      text += '…';
      offset = scan(source, offset + 2, '}', inside);
    } else {
      text += source[offset] ?? '';
      offset++;
    }
  }
  texts.push({ text, before: source.slice(Math.max(0, start - 300), start) }, ...inside);
  return offset + 1;
}

function endOfExpression(source: string, start: number): number {
  let inClass = false;
  for (let offset = start + 1; ; offset++) {
    const character = source[offset];
    if (character === '\\') offset++;
    else if (character === '[') inClass = true;
    else if (character === ']') inClass = false;
    else if (character === '/' && !inClass) return offset + 1;
  }
}

function indexOrEnd(source: string, text: string, from: number): number {
  const index = source.indexOf(text, from);
  return index < 0 ? source.length : index;
}
