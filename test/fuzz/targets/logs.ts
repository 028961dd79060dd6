/** What comes into logs: the output of actions, in which there may be secrets. */
import { createRedactor } from '../../../agent/log/redact.ts';
import { wordsOf } from '../inputs.ts';
import { require, type Target } from '../target.ts';

const secrets = ['hunter2-7f3a', 'p%4 "x\\ü-9', 'first line\nsecond-line'];
const redactor = createRedactor();
for (const secret of secrets) redactor.learn(secret);

const encoded = secrets.flatMap((secret) => [
  ...[secret, JSON.stringify(secret), encodeURIComponent(secret), Buffer.from(secret).toString('hex')],
  Buffer.from(`a:${secret}`).toString('base64'),
]);
const redactWords = [
  ...encoded,
  ...[
    'password=',
    '"token":"',
    'Authorization: Basic ',
    'bearer  ',
    '--secret ',
    'https://u:p@h',
    '://',
    '@',
    '%40',
    '%3a',
  ],
  ...['\\"', '\\u0022', '\\\\', '%25', '%32', '=', '==', 'YTpi', ' basic', '--a'],
];

export const redactTarget: Target = {
  name: 'log-redaction',
  seeds: [
    ...encoded.map((text) => `before ${text} after`),
    'curl -u user:hunter2-7f3a https://user:hunter2-7f3a@host/?password=hunter2-7f3a --token hunter2-7f3a',
    '{"auths":{"a":{"auth":"YTpodW50ZXIyLTdmM2E="}}}',
    `authorization:${' '.repeat(60_000)}""`,
  ],
  generated: wordsOf(redactWords),
  words: redactWords,
  // Five layers of encodings.
  microsecondsPerByte: 30,
  check(input) {
    const text = input.toString();
    const redacted = redactor.redact(text);
    const parts = redactor.redactParts();
    const partLength = 1 + (text.length % 97);
    const inParts = Array.from({ length: Math.ceil(text.length / partLength) }, (_, index) =>
      parts(text.slice(index * partLength, (index + 1) * partLength), (index + 1) * partLength < text.length),
    ).join('');
    for (const secret of secrets.flatMap((one) => one.split('\n'))) {
      require(!redacted.includes(secret), () => `${secret} is in ${JSON.stringify(redacted)}`);
      require(!inParts.includes(secret), () => `${secret} is in the parts ${JSON.stringify(inParts)}`);
    }
    require(redacted.length <= 4 * text.length + 100, () => `${text.length} characters become ${redacted.length}`);
  },
};
