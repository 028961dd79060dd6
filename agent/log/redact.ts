import { inspect } from 'node:util';

const mask = '***';

/** Below this length a value is too likely to be part of an ordinary word for its every occurrence to be masked. */
const shortestMaskedLength = 4;

/** Words in the name of an environment variable, a flag or a field that tell that its value is nobody's business. */
const secretName =
  /pass(?:word|wd|phrase)?|secret|token|credential|private|user_?data|vendor_?data|api_?key|access_?key|signing_?key|auth(?!or)|(?:^|_)(?:key|pin|pw)$/i;

/** Whether a value of this name is to be kept out of every output. */
export function looksSecret(name: string): boolean {
  return secretName.test(name);
}

/** A text that shows itself as `***` wherever it is printed, logged or turned into JSON; only {@link Secret.reveal} gives it away. */
export class Secret {
  readonly #value: string;

  constructor(value: string) {
    this.#value = value;
  }

  reveal(): string {
    return this.#value;
  }

  toString(): string {
    return mask;
  }

  toJSON(): string {
    return mask;
  }

  [inspect.custom](): string {
    return mask;
  }
}

/** Masks known secrets by their value, wherever they turn up: in an error of a library, in the output of an action, in a field nobody thought of. */
export interface Redactor {
  /** From now on this value is masked. Values shorter than four characters are not: they would mask half of every text. */
  learn(value: string): void;
  /** Learns the values of those `NAME=value` entries whose name looks like a secret's. */
  learnEnvironment(environment: readonly string[]): void;
  /** The text without the secrets known so far, and without the password of any URL in it. */
  redact(text: string): string;
}

/** Creates a {@link Redactor} that knows nothing yet. */
export function createRedactor(): Redactor {
  const known = new Set<string>();
  let longestFirst: readonly string[] = [];

  function learn(value: string): void {
    for (const secret of [value, ...value.split('\n')].map((text) => text.trim())) {
      if (secret.length < shortestMaskedLength) continue;
      for (const form of formsOf(secret)) known.add(form);
    }
    // The longest first, so that a secret which contains another one is masked whole.
    longestFirst = [...known].sort((a, b) => b.length - a.length);
  }

  return {
    learn,
    learnEnvironment(environment) {
      for (const entry of environment) {
        const equals = entry.indexOf('=');
        if (equals > 0 && looksSecret(entry.slice(0, equals))) learn(entry.slice(equals + 1));
      }
    },
    redact(text) {
      const withoutKnown = longestFirst.reduce((rest, secret) => rest.replaceAll(secret, mask), text);
      return withoutKnown.replace(/(:\/\/[^\s/:@"]*:)[^\s/@"]+@/g, `$1${mask}@`);
    },
  };
}

/** How a secret looks after the encodings it commonly goes through on its way into a text. */
function formsOf(secret: string): string[] {
  const inJson = JSON.stringify(secret).slice(1, -1);
  // A log line is JSON itself, so what was JSON before is escaped twice.
  const inJsonTwice = JSON.stringify(inJson).slice(1, -1);
  const base64 = Buffer.from(secret).toString('base64').replace(/=+$/, '');
  return [secret, inJson, inJsonTwice, encodeURIComponent(secret), base64];
}
