/**
 * The functions that templates may call: `index` of Go's text/template, those that Tinkerbell adds, and the few of sprig that templates for machines use.
 * Each takes what Go's takes, and throws an Error that says what it wanted.
 */
import { type Value, valueIn } from './value.ts';

type TemplateFunction = (...values: readonly (Value | undefined)[]) => Value;

export const functions: Readonly<Record<string, TemplateFunction>> = {
  index: (of, ...keys) => keys.reduce<Value>((value, key) => elementOf(value, key), given(of, 'index')),
  formatPartition: (disk, number) => formatPartition(textOf(disk), numberOf(number)),
  netmaskToPrefixLength: (mask) => prefixLengthOf(textOf(mask)),
  quote: (value) => JSON.stringify(printed(value)),
  squote: (value) => `'${printed(value)}'`,
  default: (fallback, value) => (isEmpty(value) ? given(fallback, 'default') : (value ?? '')),
  lower: (value) => textOf(value).toLowerCase(),
  upper: (value) => textOf(value).toUpperCase(),
  trim: (value) => textOf(value).trim(),
  b64enc: (value) => Buffer.from(textOf(value)).toString('base64'),
  b64dec: (value) => Buffer.from(textOf(value), 'base64').toString(),
};

/** How a value stands in a text. @throws for what has no text of its own. */
export function printed(value: Value | undefined): string {
  if (value === null || value === undefined) throw new Error('there is no value');
  if (typeof value === 'object') throw new Error(`a ${kindOf(value)} is no text; name one of its elements`);
  return String(value);
}

function elementOf(value: Value, key: Value | undefined): Value {
  if (Array.isArray(value)) {
    const number = numberOf(key);
    const element = value[number];
    if (element === undefined) throw new Error(`there is no element ${number}: the list has ${value.length}`);
    return element;
  }
  if (value !== null && typeof value === 'object') {
    const element = valueIn(value, textOf(key));
    if (element === undefined) throw new Error(`there is no ${textOf(key)}`);
    return element;
  }
  throw new Error(`index wants a list, not a ${kindOf(value)}`);
}

/** As Tinkerbell's function of that name; a disk of a kind it does not know stays as it is. */
function formatPartition(disk: string, number: number): string {
  if (disk.startsWith('/dev/nvme')) return `${disk}p${number}`;
  return /^\/dev\/(?:sd|vd|xvd|hd)/.test(disk) ? `${disk}${number}` : disk;
}

/** `255.255.255.0` → 24 */
function prefixLengthOf(mask: string): number {
  const bytes = mask.split('.').map(Number);
  const bits = bytes.map((byte) => byte.toString(2).padStart(8, '0')).join('');
  const isMask = /^(?:\d+\.){3}\d+$/.test(mask) && bytes.every((byte) => byte <= 255) && /^1*0*$/.test(bits);
  if (!isMask) throw new Error(`"${mask}" is not a netmask such as 255.255.255.0`);
  return bits.replaceAll('0', '').length;
}

function isEmpty(value: Value | undefined): boolean {
  return value === undefined || value === null || value === '' || value === 0 || value === false;
}

function given(value: Value | undefined, name: string): Value {
  if (value === undefined) throw new Error(`${name} wants more values`);
  return value;
}

function textOf(value: Value | undefined): string {
  if (typeof value !== 'string') throw new Error(`a text is wanted, not a ${kindOf(value)}`);
  return value;
}

function numberOf(value: Value | undefined): number {
  if (typeof value !== 'number') throw new Error(`a number is wanted, not a ${kindOf(value)}`);
  return value;
}

function kindOf(value: Value | undefined): string {
  if (value === undefined || value === null) return 'missing value';
  if (Array.isArray(value)) return 'list';
  if (typeof value === 'string') return 'text';
  return typeof value === 'object' ? 'mapping' : typeof value;
}
