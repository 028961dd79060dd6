import type { Dialect } from './dialect.ts';
import { each, type JsonCursor } from './findings.ts';
import { JsonSyntaxError, parseJson } from './json.ts';
import { whyNotCleanPath } from './path.ts';
import { checkResource } from './resource.ts';
import type { Luks } from './schema3.ts';
import { parseUrl } from './url.ts';

type Clevis = NonNullable<Luks['clevis']>;

export function checkLuks(devices: readonly Luks[], dialect: Dialect, cursor: JsonCursor): void {
  each(devices, cursor, (luks, at) => {
    const { clevis, device = '', keyFile, label = '', name } = luks;
    if (name.includes('/')) at.at('name').error('the name cannot contain a slash');
    if (Buffer.byteLength(label) > 47) at.at('label').error('the label is longer than 47 bytes');
    at.at('device').error(whyNotCleanPath(device));
    checkResource(keyFile, dialect, at.at('keyFile'));
    if (clevis !== undefined) checkClevis(clevis, dialect, at.at('clevis'));
    if (luks.cex.enabled === true && ((keyFile.source ?? '') !== '' || (clevis !== undefined && unlocks(clevis)))) {
      at.at('cex').error('a key from a CEX card excludes clevis and a key file');
    }
  });
}

function unlocks(clevis: Clevis): boolean {
  return (clevis.custom?.pin ?? '') !== '' || usesBuiltIn(clevis);
}

function usesBuiltIn({ tang, threshold = 0n, tpm2 = false }: Clevis): boolean {
  return tang.length > 0 || tpm2 || threshold !== 0n;
}

function checkClevis(clevis: Clevis, dialect: Dialect, cursor: JsonCursor): void {
  const { custom } = clevis;
  if (custom !== undefined) checkCustom(custom, dialect, cursor.at('custom'));
  // Until 3.2 an empty custom configuration counted as a configuration.
  const isCustom = dialect.minor >= 3 ? (custom?.pin ?? '') !== '' : custom !== undefined;
  if (isCustom && usesBuiltIn(clevis)) cursor.error('custom excludes tpm2, tang and threshold');
  each(clevis.tang, cursor.at('tang'), (tang, at) => {
    const scheme = parseUrl(tang.url)?.scheme;
    if (scheme !== 'http' && scheme !== 'https') at.at('url').error('the server needs an http or https URL');
    if ((tang.thumbprint ?? '') === '') at.at('thumbprint').error('the thumbprint is missing');
    if (!isJson(tang.advertisement ?? '')) at.at('advertisement').error('the advertisement is not valid JSON');
  });
}

function checkCustom(custom: NonNullable<Clevis['custom']>, dialect: Dialect, cursor: JsonCursor): void {
  const { config = '', needsNetwork = false, pin = '' } = custom;
  if (pin === '' && config === '' && !(needsNetwork && dialect.minor >= 3)) return;
  const pins = ['tpm2', 'tang', 'sss'];
  if (pin === '') cursor.at('pin').error('the pin is missing');
  else if (!pins.includes(pin) && dialect.minor < dialect.ignition.anyPinSince)
    cursor.at('pin').error(`there is no pin ${pin}: it is one of ${pins.join(', ')}`);
  if (config === '') cursor.at('config').error('the configuration of the pin is missing');
}

/** An empty text is accepted. */
function isJson(text: string): boolean {
  if (text === '') return true;
  try {
    parseJson(Buffer.from(text));
    return true;
  } catch (error) {
    if (error instanceof JsonSyntaxError) return false;
    throw error;
  }
}
