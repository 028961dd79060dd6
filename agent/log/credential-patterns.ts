import { looksSecret } from './secret-names.ts';

export const mask = '***';

/** What must be in a text for one of the forms below to be in it. */
const hint =
  /[=@]|%3d|%40|["']\s*:|\b(?:basic|bearer|authorization|cookie|x-[a-z]+-(?:auth|token|key)|private-token)\b/i;

/**
 * `scheme://userinfo@`, also as it is in JSON that escapes `/` and in a URL within a URL. In a
 * password `@` may stand as it is: the last one before the host counts. With `/` in it the whole is
 * no URL, and is quoted in the error about that; `host:port/path@` is no password.
 */
const userInfo =
  /([a-z][a-z\d+.-]{0,30})(:|%3a)((?:\\{0,4}\/|%2f){2})([^\s/@"'<>\\]{1,2048}(?:@[^\s/@?#"'<>\\]{1,256}){0,4}|[^\s/@:[\]"'<>\\]{1,256}:(?!\d{1,5}\/)[^\s/@"'<>\\]{0,256}(?:\/[^\s/@"'<>\\]{1,256}){1,4})(@|%40)/gi;

/** Schemes with a user name that is no secret. */
const openUserNames = new Set(['ssh', 'git', 'git+ssh', 'sftp', 'scp', 'rsync', 'ftp', 'smtp', 'ldap']);

/** `Basic YWJj`, `Bearer abc`: the scheme of HTTP's authentication with what follows it. */
const scheme = /\b(basic|bearer)((?:\s|%20|\+)+)([\w.~+/=-]{4,})/gi;

/**
 * A header with credentials, in a request or as a field of an object. Spaces belong to one part of
 * the expression only: thousands of them would be shared in all ways.
 */
const header =
  /((?<![\w-])(?:proxy-authorization|authorization|set-cookie|cookie|x-registry-auth|x-auth-token|x-api-key|private-token)\\{0,4}["']?\s*[:=]\s*(?:\[\s*)?\\{0,4}["']?)((?:(?:basic|bearer|token|digest|negotiate)\s+)?)([^\s"'\\\],}]{1,8192})/gi;

/** `name=value`, also with an equals sign as in URLs, and `"name":"value"` as in JSON. */
const assignment =
  /(?<![\w.-])([\w.-]{1,64})(=\\{0,4}["']?|%3d|\\{0,4}["']\s*[:=]\s*\\{0,4}["'])((?<=["'])[^"'\\]{1,8192}|[^\s"'\\&;,%]{1,8192})/gi;

/** `--password value`, `-p value` is not known. */
const flag = /(?<![\w-])(--[a-z][\w-]{0,62})(\s+)([^\s"'-][^\s"']{0,8191})/gi;

/**
 * Masks what looks like credentials, though its value is not known as a secret.
 */
export function maskCredentials(text: string): string {
  if (!hint.test(text) && !text.includes('--')) return text;
  const withoutUsers = /@|%40/.test(text) ? maskUsers(text) : text;
  return withoutUsers
    .replace(header, (_, start: string, kind: string) => `${start}${kind}${mask}`)
    .replace(scheme, (all, name: string, space: string, value: string) =>
      isCredential(value) ? `${name}${space}${mask}` : all,
    )
    .replace(assignment, (all, name: string, sign: string) => (looksSecret(name) ? `${name}${sign}${mask}` : all))
    .replace(flag, (all, name: string, space: string) => (looksSecret(name) ? `${name}${space}${mask}` : all));
}

function maskUsers(text: string): string {
  return text.replace(userInfo, (all, name: string, colon: string, slashes: string, user: string, at: string) =>
    isOpenName(name, user) ? all : `${name}${colon}${slashes}${maskUserInfo(user)}${at}`,
  );
}

function isOpenName(name: string, user: string): boolean {
  return openUserNames.has(name.toLowerCase()) && !/:|%3a/i.test(user);
}

/** The user's name is kept where there is a password. */
function maskUserInfo(user: string): string {
  const [, name, colon] = /^(.*?)(:|%3a)/i.exec(user) ?? [];
  return name === undefined ? mask : `${name}${colon}${mask}`;
}

/** Not the word after `Basic` in a sentence, such as `Basic authentication`. */
function isCredential(value: string): boolean {
  return value.length >= 24 || /[\d+/=_~]|.[A-Z]/.test(value.replace(/^[a-z_]+=$/, ''));
}
