import { setImmediate } from 'node:timers/promises';
import { inspect } from 'node:util';
import { mask, maskCredentials } from './credential-patterns.ts';
import { SecretAutomaton } from './secret-automaton.ts';
import { looksSecret } from './secret-names.ts';
import { type Range, SecretScanner } from './secret-scanner.ts';
import { minMaskedLength, passwordsInUrls, secretsIn } from './secrets-in-value.ts';

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

/**
 * Masks known secrets by value, in any text: errors of libraries, output of actions, any field. A
 * text is masked before it is encoded as JSON or cut to a length.
 */
export interface Redactor {
  /** From now on this value is masked, unless it is shorter than four characters. */
  learn(value: string): void;
  /**
   * Learns the values of those `NAME=value` entries whose name looks like a secret's, and passwords
   * in the URLs of all.
   *
   * A server may send any number of them: other work is done in between. When it returns, all are
   * masked.
   * @param workflow until it is forgotten. Default: for good
   */
  learnEnvironment(environment: readonly string[], workflow?: string): Promise<void>;
  /** Forgets what was learned for all workflows, or for all others than this one. */
  forgetWorkflows(except?: string): void;
  /**
   * The text without the secrets known so far, plain or encoded ({@link SecretScanner}), and
   * without what looks like credentials ({@link maskCredentials}).
   */
  redact(text: string): string;
  /** For a text that comes in parts: a secret may begin in one and end in the next. */
  redactParts(): PartRedactor;
}

/** Masks the next part of a text; `continues`: another part follows. */
type PartRedactor = (part: string, continues: boolean) => string;

/**
 * The beginning of a secret at the end of a text is masked from this length on: the text was cut.
 */
const minCutBytes = 12;
/** Some milliseconds of work. */
const entriesAtOnce = 500;

/** Texts up to this length are masked once, the first of them. */
const maxShortText = 40;
const maxShortTexts = 500;

/** Shorter ones begin many words. */
const minPartBytes = 4;

/** Creates a {@link Redactor} that knows nothing yet. */
export function createRedactor(): Redactor {
  const ofMachine = new Set<string>();
  const ofWorkflows = new Map<string, Set<string>>();
  /** Names of actions and the like are in each line. */
  const shortTexts = new Map<string, string>();
  /** Made when it is needed: many secrets may be learned at once. */
  let automaton: SecretAutomaton | undefined;
  /** How often the secrets have changed. */
  let changes = 0;

  function forgetAutomaton(): void {
    automaton = undefined;
    changes++;
  }

  function add(secrets: readonly string[], workflow: string | undefined): void {
    const known = workflow === undefined ? ofMachine : (ofWorkflows.get(workflow) ?? new Set());
    const earlierCount = known.size;
    for (const secret of secrets) known.add(secret);
    if (workflow !== undefined) ofWorkflows.set(workflow, known);
    // All actions of a workflow mostly have the same.
    if (known.size > earlierCount) forgetAutomaton();
  }

  /** The same as {@link current}, in steps. A change of the secrets meanwhile starts it again. */
  async function prepare(): Promise<void> {
    while (automaton === undefined) {
      const madeOf = changes;
      const steps = SecretAutomaton.make(knownSecrets());
      let step = steps.next();
      for (; step.done !== true && madeOf === changes; step = steps.next()) await setImmediate();
      if (step.done !== true || madeOf !== changes) continue;
      shortTexts.clear();
      automaton = step.value;
    }
  }

  function knownSecrets(): Buffer[] {
    const all = new Set(ofMachine);
    for (const secrets of ofWorkflows.values()) for (const secret of secrets) all.add(secret);
    return [...all].map((secret) => Buffer.from(secret));
  }

  function current(): SecretAutomaton {
    if (automaton === undefined) {
      shortTexts.clear();
      const steps = SecretAutomaton.make(knownSecrets());
      let step = steps.next();
      while (step.done !== true) step = steps.next();
      automaton = step.value;
    }
    return automaton;
  }

  return {
    learn: (value) => add(secretsIn(value), undefined),
    async learnEnvironment(environment, workflow) {
      const secrets: string[] = [];
      for (const [index, entry] of environment.entries()) {
        if (index % entriesAtOnce === entriesAtOnce - 1) await setImmediate();
        const equals = entry.indexOf('=');
        const [name, value] = [entry.slice(0, equals), entry.slice(equals + 1)];
        const parts = equals > 0 && looksSecret(name) ? [value] : passwordsInUrls(value);
        secrets.push(...parts.flatMap(secretsIn));
      }
      add(secrets, workflow);
      if (secrets.length >= entriesAtOnce) await prepare();
    },
    forgetWorkflows(except) {
      for (const workflow of [...ofWorkflows.keys()]) {
        if (workflow === except) continue;
        ofWorkflows.delete(workflow);
        forgetAutomaton();
      }
    },
    redact(text) {
      if (text.length < minMaskedLength) return text;
      const secrets = current();
      const earlier = shortTexts.get(text);
      if (earlier !== undefined) return earlier;
      const masked = maskCredentials(maskKnown(text, new SecretScanner(secrets), minCutBytes));
      if (text.length <= maxShortText && shortTexts.size < maxShortTexts) shortTexts.set(text, masked);
      return masked;
    },
    redactParts() {
      let [scanner, scannedWith] = [new SecretScanner(current()), current()];
      return (part, continues) => {
        // What was learned meanwhile is found in this part.
        if (scannedWith !== current()) [scanner, scannedWith] = [new SecretScanner(current()), current()];
        return maskCredentials(maskKnown(part, scanner, continues ? minPartBytes : minCutBytes));
      };
    },
  };
}

/** @param minPending length from which on the beginning of a secret is masked at the end */
function maskKnown(text: string, scanner: SecretScanner, minPending: number): string {
  const bytes = Buffer.from(text);
  const ranges = scanner.scan(bytes);
  const pending = scanner.pendingBytes();
  if (pending >= minPending) ranges.push({ begin: Math.max(0, bytes.length - pending), end: bytes.length });
  return ranges.length === 0 ? text : withoutRanges(bytes, ranges);
}

function withoutRanges(bytes: Buffer, ranges: Range[]): string {
  ranges.sort((a, b) => a.begin - b.begin);
  const kept: string[] = [];
  let end = 0;
  let isMasked = false;
  for (const range of ranges) {
    if (range.begin > end || (range.begin === end && !isMasked)) {
      kept.push(bytes.toString('utf8', end, range.begin), mask);
      isMasked = true;
    }
    end = Math.max(end, range.end);
  }
  kept.push(bytes.toString('utf8', end));
  return kept.join('');
}
