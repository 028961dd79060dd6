import { mask } from './credential-patterns.ts';

const noFields: ReadonlySet<string> = new Set();

function maskValues(value: unknown, redact: (text: string) => string, secretFields = noFields): unknown {
  if (typeof value === 'string') return redact(value);
  if (typeof value === 'number') {
    const text = String(value);
    // No number of fewer digits is a secret.
    return text.length < 4 || redact(text) === text ? value : mask;
  }
  if (Array.isArray(value)) return value.map((element) => maskValues(element, redact, secretFields));
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(maskFields(value, redact, secretFields));
  return Object.fromEntries(fields.map(([name, field]) => [redact(name), field]));
}

/**
 * The fields of an object with their values masked: all texts, also names of fields further inside,
 * and numbers whose digits are a secret.
 * @param secretFields are masked, at any depth, whatever their values are
 */
export function maskFields(
  object: object,
  redact: (text: string) => string,
  secretFields = noFields,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(object).map(([name, value]) => [
      name,
      secretFields.has(name) ? mask : maskValues(value, redact, secretFields),
    ]),
  );
}
