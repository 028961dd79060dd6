import { parseBytes } from '../size.ts';
import type { Disk } from './lsblk.ts';
import { matchesPattern } from './pattern.ts';

/** What a disk must be like, as `--match` and `--never` describe it. All conditions must hold. */
export interface Hint {
  /** As it was given. */
  readonly text: string;
  readonly conditions: readonly Condition[];
}

interface Condition {
  readonly property: Property;
  readonly operator: Operator;
  readonly value: string;
}

type Operator = '=' | '<' | '>' | '<=' | '>=';

const properties = ['model', 'vendor', 'serial', 'wwn', 'size', 'transport', 'rotational', 'path'] as const;
type Property = (typeof properties)[number];

const truths: Readonly<Record<string, boolean>> = {
  ...{ yes: true, true: true, 1: true },
  ...{ no: false, false: false, 0: false },
};

function truthOf(value: string): boolean | undefined {
  const word = value.toLowerCase();
  return Object.hasOwn(truths, word) ? truths[word] : undefined;
}

/** A size that is named without an operator is that of the label on the disk. */
const sizeTolerance = 0.01;

/**
 * Parses conditions that are separated by commas: `model=Samsung*,size>=400GB,rotational=no`. A
 * value is a pattern (`*`, `?`) that must match the whole property, in upper or lower case; a size
 * is compared.
 * @returns the reason, if it is not understood
 */
export function parseHint(text: string): Hint | { readonly wrong: string } {
  const conditions: Condition[] = [];
  for (const part of text.split(',')) {
    const [, name = '', operator, value = ''] = /^\s*(\w+)\s*(<=|>=|=|<|>)\s*(.*?)\s*$/.exec(part) ?? [];
    const property = properties.find((known) => known === name);
    if (operator === undefined) return { wrong: `'${part}' is no condition such as model=Samsung* or size>=400GB` };
    if (property === undefined) return { wrong: `'${name}' is none of ${properties.join(', ')}` };
    if (value === '') return { wrong: `'${part}' has no value` };
    if (property !== 'size' && operator !== '=')
      return { wrong: `'${part}': only a size can be compared with ${operator}` };
    if (property === 'size' && parseBytes(value) === undefined)
      return { wrong: `'${value}' is no size such as 400GB or 16GiB` };
    if (property === 'rotational' && truthOf(value) === undefined) return { wrong: `'${value}' is neither yes nor no` };
    conditions.push({ property, operator: operator as Operator, value });
  }
  return { text, conditions };
}

/** A property that the system does not know matches nothing. */
export function matchesHint({ conditions }: Hint, disk: Disk): boolean {
  return conditions.every((condition) => holds(condition, disk));
}

/** Whether a hint names this transport, which allows one that is otherwise passed over. */
export function namesTransport({ conditions }: Hint, disk: Disk): boolean {
  return conditions.some((condition) => condition.property === 'transport' && holds(condition, disk));
}

function holds({ property, operator, value }: Condition, disk: Disk): boolean {
  switch (property) {
    case 'size':
      return compareSize(disk.sizeBytes, operator, parseBytes(value) ?? 0);
    case 'rotational':
      return disk.rotational === truthOf(value);
    case 'path':
      return [disk.path, ...disk.links].some((path) => matchesPattern(path, value));
    case 'wwn':
      return disk.wwn !== undefined && matchesPattern(bareWwn(disk.wwn), bareWwn(value), 'i');
    default: {
      const known = disk[property];
      return known !== undefined && matchesPattern(known, value, 'i');
    }
  }
}

function compareSize(sizeBytes: number, operator: Operator, bytes: number): boolean {
  switch (operator) {
    case '=':
      return Math.abs(sizeBytes - bytes) <= bytes * sizeTolerance;
    case '<':
      return sizeBytes < bytes;
    case '>':
      return sizeBytes > bytes;
    case '<=':
      return sizeBytes <= bytes;
    case '>=':
      return sizeBytes >= bytes;
  }
}

/** udev and sysfs name the same number with different prefixes: 0x5000…, naa.5000…, eui.0025… */
export function bareWwn(wwn: string): string {
  return wwn.toLowerCase().replace(/^(0x|naa\.|eui\.|uuid\.)/, '');
}
