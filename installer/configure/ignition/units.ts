import { posix } from 'node:path';
import { checkUnique, each, type Place } from './place.ts';
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

/** Source: systemd.unit(5); `snapshot` is of old systemd and still accepted. */
const systemdSuffixes = [
  ...['.service', '.socket', '.device', '.mount', '.automount', '.swap', '.target', '.path', '.timer'],
  ...['.snapshot', '.slice', '.scope'],
];

const networkdSuffixes = ['.network', '.netdev', '.link'];

export function checkSystemdUnits(units: readonly Unit[] | undefined, place: Place): void {
  each(units, place, (unit, at) => checkUnit(unit, systemdSuffixes, at));
  checkUnique(units, place, (unit) => unit.name ?? '');
}

export function checkNetworkdUnits(units: readonly Unit[] | undefined, place: Place): void {
  each(units, place, (unit, at) => checkUnit(unit, networkdSuffixes, at));
  checkUnique(units, place, (unit) => unit.name ?? '');
}

function checkUnit(unit: Unit, suffixes: readonly string[], place: Place): void {
  const { contents = '', name = '' } = unit;
  if (!suffixes.includes(suffixOf(name))) {
    const what = name === '' ? 'the unit has no name' : `${name} is not the name of a unit`;
    place.at('name').error(`${what}: that ends in ${suffixes.join(', ')}`);
  }
  const { error, sections } = readUnitFile(contents);
  if (error !== undefined) place.at('contents').error(`it is not a unit file: ${error}`);
  if (unit.enabled === true && contents !== '' && error === undefined && !sections.includes('Install')) {
    place.at('contents').warn(`${name} is enabled, but has no section Install and will not be started for that`);
  }
  each(unit.dropins, place.at('dropins'), checkDropin);
  checkUnique(unit.dropins, place.at('dropins'), (dropin) => dropin.name ?? '');
}

function checkDropin(dropin: Dropin, place: Place): void {
  const { contents = '', name = '' } = dropin;
  if (suffixOf(name) !== '.conf')
    place.at('name').error(name === '' ? 'it is missing' : `${name} does not end in .conf`);
  const { error } = readUnitFile(contents);
  if (error !== undefined) place.at('contents').error(`it is not a unit file: ${error}`);
}

/** From the last dot of the last component on, also where nothing is before it. */
function suffixOf(name: string): string {
  const base = name.slice(name.lastIndexOf('/') + 1);
  const dot = base.lastIndexOf('.');
  return dot < 0 ? '' : base.slice(dot);
}

/** Where the contents of units and drop-ins end up. */
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
