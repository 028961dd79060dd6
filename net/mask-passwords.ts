/**
 * What comes before the host of a URL. No quotes and no backslashes: JSON stays JSON. In a password
 * `@` may stand as it is: the last one before the host counts. With `/` in it the whole is no URL,
 * and is quoted in the error about that; `host:port/path@` is no password.
 */
const userInfo =
  /(:\/\/)([^\s/@"'<>\\]{1,2048}(?:@[^\s/@?#"'<>\\]{1,256}){0,4}|[^\s/@:[\]"'<>\\]{1,256}:(?!\d{1,5}\/)[^\s/@"'<>\\]{0,256}(?:\/[^\s/@"'<>\\]{1,256}){1,4})@/g;

/** Parameters of a query that give access, as of a URL that was signed for one download. */
const accessParameter =
  /([?&](?:[\w-]{0,60}(?:token|signature|secret|password|passwd|credential|api_?key)|sig|key)=)[^&\s"'<>\\]{1,4096}/gi;

/**
 * A text without passwords in the URLs in it: those of users, users without one (which are tokens),
 * and parameters that give access.
 */
export function maskPasswords(text: string): string {
  if (!text.includes('://')) return text;
  return text
    .replace(userInfo, (_, start: string, user: string) => {
      const colon = user.indexOf(':');
      return colon === -1 ? `${start}***@` : `${start}${user.slice(0, colon)}:***@`;
    })
    .replace(accessParameter, '$1***');
}
