/**
 * Whether a pattern matches all of a text: `*` stands for any characters, `?` for one. Unlike in
 * file name patterns, `*` matches a leading dot and a slash: a partition that `--save-partlabel`
 * does not match is lost.
 * @param flags of the regular expression besides `s` and `u`, such as `i`
 */
export function matchesPattern(text: string, pattern: string, flags = ''): boolean {
  const parts = pattern
    .split(/([*?])/)
    .map((part) => (part === '*' ? '.*' : part === '?' ? '.' : part.replace(/[\\^$.+()[\]{}|]/g, '\\$&')));
  return new RegExp(`^${parts.join('')}$`, `su${flags}`).test(text);
}
