import { inspect } from 'node:util';

const mask = '***';

/** Shorter values occur in ordinary words too often to be masked everywhere. */
const minMaskedLength = 4;

/** Words in the name of an environment variable, a flag or a field whose value is secret. */
const secretName =
  /pass(?:word|wd|phrase)?|secret|token|credential|private|user_?data|vendor_?data|api_?key|access_?key|signing_?key|auth(?!or)|(?:^|_)(?:key|pin|pw)$/i;

/** Whether a value of this name must appear in no output. */
export function looksSecret(name: string): boolean {
  return secretName.test(name);
}

/**
 * A text that is `***` when printed, logged or converted to JSON; only {@link Secret.reveal}
 * returns it.
 */
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

/** Masks known secrets by value, in any text: errors of libraries, output of actions, any field. */
export interface Redactor {
  /** From now on this value is masked, unless it is shorter than four characters. */
  learn(value: string): void;
  /** Learns the values of those `NAME=value` entries whose name looks like a secret's. */
  learnEnvironment(environment: readonly string[]): void;
  /** The text without the secrets known so far and without passwords in URLs. */
  redact(text: string): string;
}

/** Creates a {@link Redactor} that knows nothing yet. */
export function createRedactor(): Redactor {
  const known = new Set<string>();
  let longestFirst: readonly string[] = [];

  function learn(value: string): void {
    for (const secret of [value, ...value.split('\n')].map((text) => text.trim())) {
      if (secret.length < minMaskedLength) continue;
      for (const form of formsOf(secret)) known.add(form);
    }
    // The longest first, so that a secret that contains another one is masked completely.
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

/** Common encodings of a secret. */
function formsOf(secret: string): string[] {
  const inJson = JSON.stringify(secret).slice(1, -1);
  // A log line is JSON itself, so what was JSON before is escaped twice.
  const inJsonTwice = JSON.stringify(inJson).slice(1, -1);
  const base64 = Buffer.from(secret).toString('base64').replace(/=+$/, '');
  return [secret, inJson, inJsonTwice, encodeURIComponent(secret), base64];
}
