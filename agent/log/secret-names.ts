/** Words in the name of an environment variable, a flag or a field whose value is secret. */
const secretName = new RegExp(
  [
    'pass(?:word|wd|phrase|code)|pass(?![a-z])',
    'secret|token|credential|private|user_?data|vendor_?data|auth(?!or)',
    'jwt|cookie|(?:^|[-_.])(?:dsn|psk)(?:$|[-_.])|session_?(?:id|key)|conn(?:ection)?_?str',
    '(?:database|db|redis|mongo(?:db)?|postgres(?:ql)?|mysql|amqp|broker)_?ur[il]',
    '(?:api|access|signing|ssh|host|encryption|master|secret)[-_]?keys?',
    '(?:^|[-_.])(?:keys?|pin|pw|pwd)$',
  ].join('|'),
  'i',
);

/** Whether a value of this name must appear in no output. */
export function looksSecret(name: string): boolean {
  return secretName.test(name);
}
