/**
 * What a terminal would obey, ECMA-48: control sequences; strings of commands with their end
 * (titles, links, device control); other escape sequences. No two parts of a pattern begin with the
 * same character, so that each takes linear time on any text.
 */
const sequences = new RegExp(
  [
    '(?:\\u001b\\[|\\u009b)[0-?]*[ -/]*[@-~]',
    '(?:\\u001b[\\]PX^_]|[\\u0090\\u0098\\u009d-\\u009f])[^\\p{Cc}]*(?:\\u0007|\\u001b\\\\|\\u009c)',
    '\\u001b[ -/]*[0-~]',
  ].join('|'),
  'gu',
);

/**
 * Control characters of C0 and C1, which also begin a new line; Unicode's separators of lines and
 * paragraphs; and what changes the direction of the text after it.
 */
const controls = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]+/gu;

/** For texts without a limit of their own. A line of an action's output may have as much. */
const maxCharacters = 16 * 1024;

/**
 * Makes a text from outside fit for a terminal, a log and a page: one line without control
 * characters, well-formed, of bounded length. It takes time by the limit, not by the text.
 *
 * @param limit longest result in UTF-16 code units. A longer text ends with `…`
 */
export function printable(text: string, limit = maxCharacters): string {
  const isLonger = text.length > limit;
  const kept = isLonger ? `${text.slice(0, limit - 1)}…` : text;
  return kept.search(controls) >= 0 || !kept.isWellFormed() ? cleaned(kept) : kept;
}

function cleaned(text: string): string {
  return text.replace(sequences, '').replace(controls, ' ').toWellFormed();
}

/**
 * As {@link printable}, for a text of several lines. All but the first are indented, so that none
 * looks like a line of the program's own.
 */
export function printableLines(text: string): string {
  return text
    .split(/\r?\n/)
    .map((line, index) =>
      index === 0 || line === '' || line.startsWith('  ') ? printable(line) : `  ${printable(line)}`,
    )
    .join('\n');
}

/** More of a text is not even looked at for secrets. */
const maxMasked = 4 * maxCharacters;

/**
 * A function that masks secrets in a text from outside, and then makes it {@link printable}. What
 * stood within a secret and is removed must not make it readable: then it is masked again.
 */
export function createCleaner(redact: (text: string) => string, limit = maxCharacters): (text: string) => string {
  return (text) => {
    const masked = redact(text.length > maxMasked ? text.slice(0, maxMasked) : text);
    const shown = printable(masked, limit);
    return shown === masked ? masked : redact(shown);
  };
}
