/** What must hold for any input. */
import { type Target, Violation } from './target.ts';

/** What all code of the thread shares, and an input must not change. */
const shared = [Object, Array, String, Number, Function, Promise, RegExp, Map, Set, Uint8Array, Buffer]
  .flatMap((one) => [one, one.prototype as object])
  .concat([Error.prototype, Object.getPrototypeOf(Uint8Array.prototype), JSON])
  .map((object: object) => {
    const names = Reflect.ownKeys(object);
    // Those with getters have no value without an object.
    const values = names.flatMap((name) => {
      const property = Reflect.getOwnPropertyDescriptor(object, name);
      return property !== undefined && 'value' in property ? [[name, property.value as unknown] as const] : [];
    });
    return { object, names, values };
  });

/** Where a program failed that has not looked at its input. */
const internal =
  /Cannot read propert|Cannot set propert|is not a function|is not iterable|is not defined|Maximum call stack|Invalid (array|string|typed array) length|Invalid time value|internal error|\[object Object\]|\n {4}at |"code": "(?:invalid|unrecognized|custom)/;

/** The cause of a refusal may be an error of the language, as for a URL, but not one of these. */
const internalCause = /Cannot read propert|Cannot set propert|is not a function|is not iterable|is not defined/;

/** Of the language itself: a target that refuses by `Error` does not mean these. */
const languageErrors = [TypeError, RangeError, ReferenceError, SyntaxError, URIError];

/** One byte more costs more by this much at most, unless the target says otherwise. */
const defaultMicrosecondsPerByte = 10;
const defaultMaxMemoryMiB = 256;

/**
 * Gives an input to a target.
 *
 * @throws {Violation} it is neither taken nor refused by a clear error, what comes out is wrong,
 *   `Object.prototype` or its like is another after it, or it took too much time or memory
 */
export async function examine(target: Target, input: Buffer): Promise<void> {
  const given = Buffer.from(input);
  const { user, system } = process.threadCpuUsage();
  const peakKiB = process.resourceUsage().maxRSS;
  try {
    await target.check(given);
  } catch (error) {
    refuseUnclear(target, error);
  }
  const after = process.threadCpuUsage();
  const microseconds = after.user + after.system - user - system;
  const { baseSeconds = 1, microsecondsPerByte = defaultMicrosecondsPerByte } = target;
  const { maxMemoryMiB = defaultMaxMemoryMiB } = target;
  if (microseconds > baseSeconds * 1e6 + microsecondsPerByte * input.length)
    throw new Violation(`it took ${(microseconds / 1e6).toFixed(1)} s of processor time for ${input.length} bytes`);
  const grownMiB = (process.resourceUsage().maxRSS - peakKiB) / 1024;
  if (grownMiB > maxMemoryMiB) throw new Violation(`it took ${grownMiB.toFixed(0)} MiB for ${input.length} bytes`);
  const changed = changedProperty();
  if (changed !== undefined) throw new Violation(`a prototype has another property after it: ${changed}`);
}

/** What has changed is undone: otherwise the next input would be to blame, and none made small. */
function changedProperty(): string | undefined {
  for (const { object, names, values } of shared) {
    const added = Reflect.ownKeys(object).length === names.length ? [] : Reflect.ownKeys(object);
    const name = added.find((one) => !names.includes(one));
    if (name !== undefined && Reflect.deleteProperty(object, name)) return String(name);
    for (const [name, value] of values)
      if (!Object.is(Reflect.get(object, name), value) && Reflect.set(object, name, value)) return String(name);
  }
  return undefined;
}

function refuseUnclear({ refusals = [] }: Target, error: unknown): void {
  if (error instanceof Violation) throw error;
  if (!(error instanceof Error)) throw new Violation(`what was thrown is no error: ${String(error)}`);
  const shown = `${error.name}: ${error.message.slice(0, 500)}`;
  const isOfLanguage = languageErrors.some((kind) => error instanceof kind && !refusals.includes(kind));
  if (isOfLanguage || !refusals.some((refusal) => error instanceof refusal))
    throw new Violation(`it is not refused by a clear error, but by ${shown}\n${error.stack ?? ''}`, { cause: error });
  if (error.message.trim() === '' || internal.test(error.message))
    throw new Violation(`the message is not clear: ${shown}`, { cause: error });
  for (let { cause } = error; cause instanceof Error; { cause } = cause)
    if (internalCause.test(cause.message))
      throw new Violation(`the cause is an error of the program: ${cause.stack ?? ''}`, { cause: error });
}
