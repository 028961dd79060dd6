import { looksSecret } from './secret-names.ts';

/** Shorter values occur in ordinary words too often to be masked everywhere. */
export const minMaskedLength = 4;

/** Values of switches; to mask them everywhere would only make texts unreadable. */
const ordinaryWords = new Set(['true', 'false', 'none', 'null', 'default', 'enabled', 'disabled', 'auto']);

/**
 * The parts of a secret value that are secrets themselves: each of its lines, the password of a
 * URL, the values of a JSON document with the names of secrets, a password in Base64 together with
 * a user name. Values that would be found in ordinary texts are none.
 */
export function secretsIn(value: string): string[] {
  const lines = value.split(/[\r\n]+/);
  const parts = [value, ...lines, ...passwordsInUrls(value), ...secretsInJson(value), ...passwordInBase64(value)];
  return parts
    .map((part) => part.trim())
    .filter((part) => part.length >= minMaskedLength && !ordinaryWords.has(part.toLowerCase()))
    .flatMap((part) => {
      // Within Base64 nothing is unescaped: a header for the engine is JSON in Base64.
      const inJson = JSON.stringify(part).slice(1, -1);
      return inJson === part ? [part] : [part, inJson];
    });
}

/**
 * What stands before the last `@` in front of the host. A password with `/` belongs to no URL, and
 * is a mistake that is made; `host:port/path@` is none.
 */
const userInfo =
  /:\/\/([^\s/@"'<>]{1,4096}(?:@[^\s/@?#"'<>]{1,256}){0,4}|[^\s/@:[\]"'<>]{1,256}:(?!\d{1,5}\/)[^\s/@"'<>]{0,256}(?:\/[^\s/@"'<>]{1,256}){1,4})@/g;

/** Passwords, and users without one, of the URLs in a text, as they are there and as meant. */
export function passwordsInUrls(text: string): string[] {
  if (!text.includes('://')) return [];
  const found = [...text.matchAll(userInfo)].map(([, user = '']) => user);
  return found.flatMap((user) => {
    const password = user.slice(user.indexOf(':') + 1);
    return password.includes('%') ? [password, decoded(password)] : [password];
  });
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function secretsInJson(value: string): string[] {
  if (!/^\s*[{[]/.test(value)) return [];
  const found: string[] = [];
  try {
    JSON.parse(value, (name: string, field: unknown) => {
      if (typeof field === 'string' && looksSecret(name)) found.push(field, ...passwordInBase64(field));
      return field;
    });
  } catch {
    // It is something else that starts with a bracket.
  }
  return found;
}

/** `user:password` in Base64, as configuration files of Docker have it. */
function passwordInBase64(value: string): string[] {
  if (!/^[\w+/-]{8,4096}={0,2}$/.test(value)) return [];
  const [, password] =
    /^[\x20-\x39\x3b-\x7e]+:([\x20-\x7e]{4,})$/.exec(Buffer.from(value, 'base64').toString('latin1')) ?? [];
  return password === undefined ? [] : [password];
}
