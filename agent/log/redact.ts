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
  /**
   * From now on this value is masked, unless it is shorter than four characters. For the start: the
   * next text waits until all secrets are in order again, however many there are.
   */
  learn(value: string): void;
  /**
   * Learns the values of those `NAME=value` entries whose name looks like a secret's, and passwords
   * in the URLs of all.
   *
   * A server may send any number of them: other work is done in between. When it returns, all are
   * masked; until then those that were known before.
   * @param workflow until it is forgotten. Default: for good
   */
  learnEnvironment(environment: readonly string[], workflow?: string): Promise<void>;
  /**
   * Forgets what was learned for all workflows, or for all others than this one. Until it returns
   * they are masked.
   */
  forgetWorkflows(except?: string): Promise<void>;
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
const charactersAtOnce = 16 * 1024;

/** Texts up to this length are masked once, the first of them. */
const maxShortText = 40;
const maxShortTexts = 500;

/** Shorter ones begin many words. */
const minPartBytes = 4;

/** Creates a {@link Redactor} that knows nothing yet. */
export function createRedactor(): Redactor {
  const ofMachine = new Set<string>();
  let ofWorkflows: SecretsOfWorkflows = new Map();
  /** Names of actions and the like are in each line. */
  const shortTexts = new Map<string, string>();
  /** Made when it is needed. */
  let automaton: SecretAutomaton | undefined;
  /** Changes of the secrets of workflows are made one after the other. */
  let changing: Promise<void> = Promise.resolve();

  function use(made: SecretAutomaton): SecretAutomaton {
    shortTexts.clear();
    automaton = made;
    return made;
  }

  function current(): SecretAutomaton {
    if (automaton !== undefined) return automaton;
    const steps = SecretAutomaton.make([...union(ofMachine, ofWorkflows)].map(asBytes));
    let step = steps.next();
    while (step.done !== true) step = steps.next();
    return use(step.value);
  }

  /** In steps. The secrets so far are masked meanwhile. */
  async function change(change: () => Promise<SecretsOfWorkflows>): Promise<void> {
    const changed = changing.then(async () => {
      const next = await change();
      if (next === ofWorkflows) return;
      for (;;) {
        const machineCount = ofMachine.size;
        const made = await inSteps(SecretAutomaton.make(await inSteps(toBytes(union(ofMachine, next)))));
        // The machine's were learned meanwhile: once more.
        if (machineCount !== ofMachine.size) continue;
        ofWorkflows = next;
        use(made);
        return;
      }
    });
    changing = changed.catch(() => {});
    await changed;
  }

  return {
    learn(value) {
      const earlierCount = ofMachine.size;
      for (const secret of secretsIn(value)) ofMachine.add(secret);
      if (ofMachine.size > earlierCount) automaton = undefined;
    },
    learnEnvironment: (environment, workflow) =>
      change(async () => {
        const known = workflow === undefined ? ofMachine : ofWorkflows.get(workflow);
        const learned = await inSteps(secretsInEnvironment(environment));
        // All actions of a workflow mostly have the same.
        if (known !== undefined && learned.isSubsetOf(known)) return ofWorkflows;
        if (workflow !== undefined) return new Map([...ofWorkflows, [workflow, learned.union(known ?? new Set())]]);
        for (const secret of learned) ofMachine.add(secret);
        return new Map(ofWorkflows);
      }),
    forgetWorkflows: (except) =>
      change(async () => {
        const kept = new Map([...ofWorkflows].filter(([workflow]) => workflow === except));
        return kept.size === ofWorkflows.size ? ofWorkflows : kept;
      }),
    redact(text) {
      if (text.length < minMaskedLength) return text;
      const secrets = current();
      const earlier = shortTexts.get(text);
      if (earlier !== undefined) return earlier;
      const masked = maskCredentials(maskKnown(text, [new SecretScanner(secrets)], false));
      if (text.length <= maxShortText && shortTexts.size < maxShortTexts) shortTexts.set(text, masked);
      return masked;
    },
    redactParts() {
      let scannedWith = current();
      let scanners = [new SecretScanner(scannedWith)];
      return (part, continues) => {
        if (scannedWith !== current()) {
          // What was learned meanwhile is found in this part, and the rest of a secret that began
          // in an earlier one.
          scannedWith = current();
          scanners = [new SecretScanner(scannedWith), ...scanners.slice(0, 1)];
        }
        return maskCredentials(maskKnown(part, scanners, continues));
      };
    },
  };
}

type SecretsOfWorkflows = ReadonlyMap<string, ReadonlySet<string>>;

function union(ofMachine: ReadonlySet<string>, ofWorkflows: SecretsOfWorkflows): Iterable<string> {
  return [...ofWorkflows.values()].reduce((all, secrets) => all.union(secrets), ofMachine);
}

function asBytes(secret: string): Buffer {
  return Buffer.from(secret);
}

/** Does work in steps: between them the event loop does what else there is. */
async function inSteps<T>(steps: Generator<void, T>): Promise<T> {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await setImmediate();
  }
}

function* toBytes(secrets: Iterable<string>): Generator<void, Buffer[]> {
  const all: Buffer[] = [];
  let characters = 0;
  for (const secret of secrets) {
    all.push(asBytes(secret));
    characters += secret.length + 16;
    if (characters < charactersAtOnce) continue;
    characters = 0;
    yield;
  }
  return all;
}

function* secretsInEnvironment(environment: readonly string[]): Generator<void, Set<string>> {
  const secrets = new Set<string>();
  let characters = 0;
  for (const entry of environment) {
    const equals = entry.indexOf('=');
    const [name, value] = [entry.slice(0, equals), entry.slice(equals + 1)];
    const parts = equals > 0 && looksSecret(name) ? [value] : passwordsInUrls(value);
    for (const part of parts) for (const secret of secretsIn(part)) secrets.add(secret);
    characters += entry.length + 16;
    if (characters < charactersAtOnce) continue;
    characters = 0;
    yield;
  }
  return secrets;
}

/** @param continues another part of the text follows */
function maskKnown(text: string, scanners: readonly SecretScanner[], continues: boolean): string {
  const bytes = Buffer.from(text);
  const ranges = scanners.flatMap((scanner) => scanner.scan(bytes, continues));
  for (const scanner of scanners) {
    const begin = scanner.pendingFrom(continues ? minPartBytes : minCutBytes);
    if (begin !== undefined) ranges.push({ begin, end: bytes.length });
  }
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
