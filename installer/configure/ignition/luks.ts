import type { Dialect } from './dialect.ts';
import { whyNotCleanPath } from './path.ts';
import { checkUnique, each, type Place } from './place.ts';
import { checkResource } from './resource.ts';
import type { Luks } from './schema3.ts';
import { parseUrl } from './url.ts';

type Clevis = NonNullable<Luks['clevis']>;

export function checkLuks(devices: readonly Luks[] | undefined, dialect: Dialect, place: Place): void {
  each(devices, place, (luks, at) => {
    const { clevis, device, keyFile, label = '', name = '' } = luks;
    if (name.includes('/')) at.at('name').error('the name cannot contain a slash');
    if (Buffer.byteLength(label) > 47) at.at('label').error('the label is longer than 47 bytes');
    at.at('device').error(whyNotCleanPath(device));
    checkResource(keyFile, dialect, at.at('keyFile'));
    if (clevis !== undefined) checkClevis(clevis, dialect, at.at('clevis'));
    if (luks.cex?.enabled === true && ((keyFile?.source ?? '') !== '' || (clevis !== undefined && unlocks(clevis)))) {
      at.at('cex').error('a key from a CEX card excludes clevis and a key file');
    }
  });
  checkUnique(devices, place, (luks) => luks.name ?? '');
}

function unlocks(clevis: Clevis): boolean {
  return (clevis.custom?.pin ?? '') !== '' || usesBuiltIn(clevis);
}

function usesBuiltIn({ tang = [], threshold = 0, tpm2 = false }: Clevis): boolean {
  return tang.length > 0 || tpm2 || threshold !== 0;
}

function checkClevis(clevis: Clevis, dialect: Dialect, place: Place): void {
  const { custom } = clevis;
  if (custom !== undefined) checkCustom(custom, dialect, place.at('custom'));
  // Until 3.2 an empty custom configuration counted as one.
  const isCustom = dialect.minor >= 3 ? (custom?.pin ?? '') !== '' : custom !== undefined;
  if (isCustom && usesBuiltIn(clevis)) place.error('custom excludes tpm2, tang and threshold');
  each(clevis.tang, place.at('tang'), (tang, at) => {
    const scheme = parseUrl(tang.url ?? '')?.scheme;
    if (scheme !== 'http' && scheme !== 'https') at.at('url').error('the server needs a URL with http or https');
    if ((tang.thumbprint ?? '') === '') at.at('thumbprint').error('the thumbprint is missing');
    if (!isJson(tang.advertisement ?? '')) at.at('advertisement').error('the advertisement is not valid JSON');
  });
  checkUnique(clevis.tang, place.at('tang'), (tang) => tang.url ?? '');
}

function checkCustom(custom: NonNullable<Clevis['custom']>, dialect: Dialect, place: Place): void {
  const { config = '', needsNetwork = false, pin = '' } = custom;
  if (pin === '' && config === '' && !(needsNetwork && dialect.minor >= 3)) return;
  if (!['tpm2', 'tang', 'sss'].includes(pin)) {
    place
      .at('pin')
      .error(`${pin === '' ? 'the pin is missing' : `there is no pin ${pin}`}: it is one of tpm2, tang, sss`);
  }
  if (config === '') place.at('config').error('the configuration of the pin is missing');
}

/** Nothing is accepted too. */
function isJson(text: string): boolean {
  if (text === '') return true;
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}
