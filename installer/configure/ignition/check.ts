import { ConfigurationError } from '../errors.ts';
import { JsonLocator, JsonSyntaxError, parseJson } from './json.ts';
import type { Finding, Findings } from './json-cursor.ts';
import { recogniseOtherFormat } from './other-format.ts';
import { isRecord } from './schema.ts';
import { describeVersions, findVersion, isNewerVersion3, newestVersion, readVersion } from './versions.ts';

export interface IgnitionCheck {
  /** As in the file; `1` for the format before the key `ignition.version` existed. */
  readonly version: string;
  /** What Ignition will ignore or may not accept. The file can be installed. */
  readonly warnings: readonly string[];
}

/** Limits the output for a file of another kind. */
const maxListed = 10;

/**
 * Checks an Ignition config before anything is written: its errors would show only at first boot,
 * on a machine without a login.
 * @param name of the file, for messages
 * @throws {ConfigurationError} it is not JSON (with line and column), not an Ignition config, of a
 *   version that Flatcar cannot read, or Ignition would refuse it (with the path of every wrong
 *   value)
 */
export function checkIgnition(bytes: Uint8Array, name: string): IgnitionCheck {
  const refuse = (why: string, hint?: string) => new ConfigurationError({ what: 'use', target: name, why, hint });
  const text = decode(bytes, refuse);
  const config = parseObject(text, refuse);
  const version = readVersion(config);
  if (version === undefined || version === '') {
    throw refuse('it has no ignition.version', 'an Ignition config starts with {"ignition": {"version": "3.3.0"}}');
  }
  if (isNewerVersion3(version)) {
    const warning = `its version ${version} is newer than ${newestVersion}; the image may not support it`;
    return { version, warnings: [warning] };
  }
  const known = findVersion(version);
  if (known === undefined) {
    throw refuse(`its version ${version} is not supported by Flatcar`, `supported versions: ${describeVersions()}`);
  }
  const findings: Findings = { errors: [], warnings: [] };
  known.check(config, findings);
  const locator = new JsonLocator(text);
  const warnings = describe(findings.warnings, locator);
  if (findings.errors.length === 0) return { version, warnings };
  // An ignored key is often the reason why another is missing.
  throw refuse(list([...describe(findings.errors, locator), ...warnings.map((warning) => `warning: ${warning}`)]));
}

type Refuse = (why: string, hint?: string) => ConfigurationError;

function decode(bytes: Uint8Array, refuse: Refuse): string {
  if (bytes.length === 0) throw refuse('it is empty');
  if (bytes[0] === 0x1f && bytes[1] === 0x8b) throw refuse('it is compressed with gzip', 'decompress it first');
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    throw refuse('it starts with a byte order mark, which Ignition does not accept', 'save it as UTF-8 without one');
  }
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw refuse('it is not text in UTF-8');
  }
}

function parseObject(text: string, refuse: Refuse): unknown {
  try {
    const config = parseJson(text);
    if (isRecord(config)) return config;
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    const other = recogniseOtherFormat(text);
    throw other === undefined ? refuse(`it is not valid JSON: ${error.message}`) : refuse(other.why, other.hint);
  }
  throw refuse('it is JSON, but not an object');
}

/** At most `maxListed`, and the number of the others. */
function describe(findings: readonly Finding[], locator: JsonLocator): string[] {
  const listed = findings.slice(0, maxListed).map(({ path, message }) => `${locator.describe(path)}: ${message}`);
  const left = findings.length - listed.length;
  return left > 0 ? [...listed, `and ${left} more`] : listed;
}

function list(problems: readonly string[]): string {
  return problems.length === 1 ? problems.join() : `it has several problems:\n  ${problems.join('\n  ')}`;
}
