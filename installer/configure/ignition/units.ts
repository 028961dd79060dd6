import { posix } from 'node:path';
import { checkUnique, each, type JsonCursor } from './json-cursor.ts';
import { readUnitFile } from './unit-file.ts';

/** A unit of systemd, or a file of networkd. */
interface Unit {
  readonly contents?: string | undefined;
  readonly dropins?: readonly Dropin[] | undefined;
  readonly enabled?: boolean | undefined;
  readonly name?: string | undefined;
}

interface Dropin {
  readonly contents?: string | undefined;
  readonly name?: string | undefined;
}

/** Source: systemd.unit(5); `snapshot` is from old versions of systemd and still accepted. */
const systemdSuffixes = [
  ...['.service', '.socket', '.device', '.mount', '.automount', '.swap', '.target', '.path', '.timer'],
  ...['.snapshot', '.slice', '.scope'],
];

const networkdSuffixes = ['.network', '.netdev', '.link'];

export function checkSystemdUnits(units: readonly Unit[] | undefined, cursor: JsonCursor): void {
  each(units, cursor, (unit, at) => checkUnit(unit, systemdSuffixes, at));
  checkUnique(units, cursor, (unit) => unit.name ?? '');
}

export function checkNetworkdUnits(units: readonly Unit[] | undefined, cursor: JsonCursor): void {
  each(units, cursor, (unit, at) => checkUnit(unit, networkdSuffixes, at));
  checkUnique(units, cursor, (unit) => unit.name ?? '');
}

function checkUnit(unit: Unit, suffixes: readonly string[], cursor: JsonCursor): void {
  const { contents = '', name = '' } = unit;
  if (!suffixes.includes(suffixOf(name))) {
    const what = name === '' ? 'the unit has no name' : `${name} is not the name of a unit`;
    cursor.at('name').error(`${what}: that ends in ${suffixes.join(', ')}`);
  }
  const { error, sections } = readUnitFile(contents);
  if (error !== undefined) cursor.at('contents').error(`it is not a unit file: ${error}`);
  if (unit.enabled === true && contents !== '' && error === undefined && !sections.includes('Install')) {
    cursor.at('contents').warn(`${name} is enabled, but has no section Install, so that enabling it has no effect`);
  }
  each(unit.dropins, cursor.at('dropins'), checkDropin);
  checkUnique(unit.dropins, cursor.at('dropins'), (dropin) => dropin.name ?? '');
}

function checkDropin(dropin: Dropin, cursor: JsonCursor): void {
  const { contents = '', name = '' } = dropin;
  if (suffixOf(name) !== '.conf')
    cursor.at('name').error(name === '' ? 'it is missing' : `${name} does not end in .conf`);
  const { error } = readUnitFile(contents);
  if (error !== undefined) cursor.at('contents').error(`it is not a unit file: ${error}`);
}

/** From the last dot of the last component on, even if the name begins with it. */
function suffixOf(name: string): string {
  const base = name.slice(name.lastIndexOf('/') + 1);
  const dot = base.lastIndexOf('.');
  return dot < 0 ? '' : base.slice(dot);
}

/** Paths of units and drop-ins. */
export function pathsOfUnits(units: readonly Unit[] | undefined): Set<string> {
  const paths = new Set<string>();
  for (const unit of units ?? []) {
    const path = posix.join('/etc/systemd/system', unit.name ?? '');
    if ((unit.contents ?? '') !== '') paths.add(path);
    for (const dropin of unit.dropins ?? []) {
      if ((dropin.contents ?? '') !== '') paths.add(`${path}.d/${dropin.name ?? ''}`);
    }
  }
  return paths;
}
