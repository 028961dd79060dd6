import { each, type JsonCursor } from './findings.ts';
import { extensionOf } from './path.ts';
import type { Unit3 } from './schema3.ts';
import { readUnitFile } from './unit-file.ts';

/** Source: systemd.unit(5); `snapshot` is from old versions of systemd and still accepted. */
const systemdExtensions = [
  ...['.service', '.socket', '.device', '.mount', '.automount', '.swap', '.target', '.path', '.timer'],
  ...['.snapshot', '.slice', '.scope'],
];

const networkdExtensions = ['.network', '.netdev', '.link'];

/** @param checksTemplates whether this Ignition looks for the template of an instance */
export function checkSystemdUnits(units: readonly Unit3[], checksTemplates: boolean, cursor: JsonCursor): void {
  each(units, cursor, (unit, at) => {
    const { contents = '', name, dropins } = unit;
    at.at('name').error(whyNotUnitName(name));
    at.at('contents').error(whyNotUnitFile(contents));
    if (unit.enabled === true && lacksInstall(contents)) {
      at.at('contents').warn(`${name} is enabled, but has no section Install, so that enabling it has no effect`);
    }
    if (unit.enabled === true && checksTemplates) at.at('contents').warn(whyNotInstance(name, units));
    each(dropins, at.at('dropins'), (dropin, dropinAt) => {
      dropinAt.at('name').error(whyNotDropinName(dropin.name));
      dropinAt.at('contents').error(whyNotUnitFile(dropin.contents ?? ''));
    });
  });
}

export function whyNotUnitName(name: string): string | undefined {
  return whyNotName(name, 'a unit', systemdExtensions);
}

export function whyNotNetworkdName(name: string): string | undefined {
  return whyNotName(name, 'a network unit', networkdExtensions);
}

export function whyNotDropinName(name: string): string | undefined {
  if (extensionOf(name) === '.conf') return undefined;
  return name === '' ? 'it is missing' : `${name} does not end in .conf`;
}

function whyNotName(name: string, what: string, extensions: readonly string[]): string | undefined {
  if (extensions.includes(extensionOf(name))) return undefined;
  return `${name === '' ? 'the unit has no name' : `${name} is not the name of ${what}`}: that ends in ${extensions.join(', ')}`;
}

export function whyNotUnitFile(contents: string): string | undefined {
  const { error } = readUnitFile(contents);
  return error === undefined ? undefined : `it is not a unit file: ${error}`;
}

/** Ignition looks for an option of that section. */
function lacksInstall(contents: string): boolean {
  if (contents === '') return false;
  const { error, sections } = readUnitFile(contents);
  return error === undefined && !sections.has('Install');
}

/** An instance, as a@b.service, is enabled by the section of its template, as a@.service. */
function whyNotInstance(name: string, units: readonly Unit3[]): string | undefined {
  const template = /^(.+?)@.+?\.service$/.exec(name)?.[1];
  if (template === undefined) return undefined;
  const found = units.findLast((unit) => unit.name === `${template}@.service`);
  if (found?.contents === undefined || !lacksInstall(found.contents)) return undefined;
  return `${name} is enabled, but its template ${found.name} has no section Install, so that enabling it has no effect`;
}

/** Paths of units and drop-ins that are written. */
export function pathsOfUnits(units: readonly Unit3[]): Set<string> {
  const paths = new Set<string>();
  for (const { name, contents, dropins } of units) {
    const path = `/etc/systemd/system/${name}`;
    if ((contents ?? '') !== '') paths.add(path);
    for (const dropin of dropins) {
      if ((dropin.contents ?? '') !== '') paths.add(`${path}.d/${dropin.name}`);
    }
  }
  return paths;
}
