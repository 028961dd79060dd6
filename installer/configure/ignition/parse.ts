import { adviseOnVersion3 } from './advice.ts';
import { type DecodeContext, decode } from './decode.ts';
import { checkDuplicates } from './duplicates.ts';
import { type Finding, type Findings, JsonCursor, noFindings } from './findings.ts';
import { int, type StructType, string, struct, type Value } from './go-types.ts';
import type { JsonNode } from './json.ts';
import type { IgnitionRelease } from './releases.ts';
import { checkVersion1, translateVersion1 } from './rules1.ts';
import { checkVersion2 } from './rules2.ts';
import { checkVersion3 } from './rules3.ts';
import { type Config1, config1 } from './schema1.ts';
import { type Config2, config2 } from './schema2.ts';
import { type Config3, config3 } from './schema3.ts';
import { formatSemanticVersion, isOlder, parseSemanticVersion, type SemanticVersion } from './semver.ts';
import { checkTranslation, originOf, translatedMinor, translateVersion2 } from './translate2.ts';
import { findsUnknownKeys, warnOfUnknownKeys } from './unknown-keys.ts';

export interface ParsedConfig {
  /** As in the config; `1` for the format before the key `ignition.version` existed. */
  readonly version: string | undefined;
  /** Version 3, to which the others are translated; undefined if there are errors. */
  readonly config: Config3 | undefined;
}

interface Source {
  readonly bytes: Buffer;
  readonly top: JsonNode;
  readonly ignition: IgnitionRelease;
  readonly findings: Findings;
}

const header = struct({ ignition: struct({ version: string }), ignitionVersion: int });

/**
 * Parses and checks a config of any version as `config.Parse()` of Ignition does.
 * Source: config/v3_N/config.go of https://github.com/coreos/ignition with Flatcar's patches.
 * @param findings gets what is found
 */
export function parseConfig(source: Source): ParsedConfig {
  const { findings, ignition } = source;
  const cursor = new JsonCursor(findings);
  const { ignition: section, ignitionVersion } = decode(header, source.top, contextOf(source, 0), cursor);
  const given = section.version === '' ? undefined : section.version;
  if (findings.errors.length > 0) return { version: given, config: undefined };
  const version = parseSemanticVersion(given ?? `${ignitionVersion}.0.0`);
  if (version === undefined) {
    cursor
      .at('ignition', 'version')
      .error(`${given ?? ignitionVersion} is no version: that is three numbers, as 3.3.0`);
    return { version: given, config: undefined };
  }
  if (version.numbers[0] !== 3n) return parseOld(source, given, version);
  const minor = given === undefined ? undefined : findMinor3(version, ignition);
  if (minor === undefined) {
    refuseVersion(given, ignition, cursor);
    return { version: given, config: undefined };
  }
  return { version: formatSemanticVersion(version), config: parseVersion3(source, minor) };
}

function refuseVersion(
  version: string | undefined,
  { newestStable, version: name }: IgnitionRelease,
  cursor: JsonCursor,
): void {
  if (version === undefined) {
    cursor.error('it has no ignition.version: an Ignition config starts with {"ignition": {"version": "3.3.0"}}');
    return;
  }
  const supported = `2.0.0 to 2.4.0, 3.0.0 to 3.${newestStable}.0 and 3.${newestStable + 1}.0-experimental`;
  cursor
    .at('ignition', 'version')
    .error(`Ignition ${name} does not support version ${version}; it supports ${supported}`);
}

/** Undefined if this Ignition does not know the version. */
function findMinor3(version: SemanticVersion, { newestStable }: IgnitionRelease): number | undefined {
  const name = formatSemanticVersion(version);
  if (name === `3.${newestStable + 1}.0-experimental`) return newestStable + 1;
  const minor = Number(version.numbers[1]);
  return name === `3.${minor}.0` && minor <= newestStable ? minor : undefined;
}

function parseVersion3(source: Source, minor: number): Config3 | undefined {
  const { findings, ignition, top } = source;
  const cursor = new JsonCursor(findings);
  const config = decode(config3, top, contextOf(source, minor), cursor);
  if (findings.errors.length > 0) return undefined;
  checkVersion3(config, { minor, ignition }, cursor);
  checkDuplicates(config3, config, minor, cursor);
  adviseOnVersion3(config, cursor);
  if (findsUnknownKeys(source.bytes, top)) warnOfUnknownKeys(config3, config, top, { major: 3, minor }, cursor);
  return findings.errors.length > 0 ? undefined : config;
}

const minors2 = [4, 3, 2, 1, 0];

/**
 * Ignition tries the versions from 2.4 down to 1, and goes on where it cannot decode a config. So a
 * wrong type in version 2 ends in a complaint about the version: the wrong type is reported
 * instead.
 */
function parseOld(source: Source, given: string | undefined, version: SemanticVersion): ParsedConfig {
  const { findings } = source;
  const name = formatSemanticVersion(version);
  let wrongTypes: readonly Finding[] = [];
  for (const minor of minors2) {
    const attempt = tryDecode(config2, source, minor);
    const isNamed = given !== undefined && name === `2.${minor}.0`;
    if (isNamed) wrongTypes = attempt.errors;
    if (attempt.errors.length > 0 || given === undefined || isOlder(version, 2, minor)) continue;
    if (isNamed) return { version: name, config: parseVersion2(source, attempt.value, minor) };
    return refuseOld(source, given, wrongTypes);
  }
  const { value, errors } = tryDecode(config1, source, 0);
  if (errors.length === 0 && value.ignitionVersion !== 1n) return refuseOld(source, given, wrongTypes);
  if (errors.length > 0) addAll(wrongTypes.length > 0 ? wrongTypes : errors, findings);
  return { version: '1', config: errors.length > 0 ? undefined : parseVersion1(source, value) };
}

function refuseOld(source: Source, version: string | undefined, wrongTypes: readonly Finding[]): ParsedConfig {
  if (wrongTypes.length > 0) addAll(wrongTypes, source.findings);
  else refuseVersion(version, source.ignition, new JsonCursor(source.findings));
  return { version, config: undefined };
}

function addAll(errors: readonly Finding[], findings: Findings): void {
  for (const error of errors) findings.errors.push(error);
}

function tryDecode<T extends StructType>(type: T, source: Source, minor: number) {
  const findings = noFindings();
  const value: Value<T> = decode(type, source.top, contextOf(source, minor), new JsonCursor(findings));
  return { value, errors: findings.errors };
}

function parseVersion1(source: Source, config: Config1): Config3 | undefined {
  const { findings, top } = source;
  const cursor = new JsonCursor(findings);
  warnOfUnknownKeys(config1, config, top, { major: 1, minor: 0 }, cursor);
  checkVersion1(config, cursor);
  return findings.errors.length > 0 ? undefined : translate(source, translateVersion1(config), 0);
}

function parseVersion2(source: Source, config: Config2, minor: number): Config3 | undefined {
  warnOfUnknownKeys(config2, config, source.top, { major: 2, minor }, new JsonCursor(source.findings));
  return translate(source, config, minor);
}

/** The translation is checked as a config of version 3.1. */
function translate({ findings, ignition }: Source, config: Config2, minor: number): Config3 | undefined {
  const cursor = new JsonCursor(findings);
  checkVersion2(config, minor, cursor);
  if (findings.errors.length > 0) return undefined;
  checkTranslation(config, cursor);
  if (findings.errors.length > 0) return undefined;
  const translated = translateVersion2(config, ignition.repeatsLastReference);
  const found = noFindings();
  const translatedCursor = new JsonCursor(found);
  checkVersion3(translated, { minor: translatedMinor, ignition }, translatedCursor);
  checkDuplicates(config3, translated, translatedMinor, translatedCursor);
  adviseOnVersion3(translated, translatedCursor);
  for (const kind of ['errors', 'warnings', 'advice'] as const) {
    for (const finding of found[kind]) findings[kind].push({ ...finding, path: originOf(finding.path, config) });
  }
  return findings.errors.length > 0 ? undefined : translated;
}

function contextOf({ bytes }: Source, minor: number): DecodeContext {
  return { bytes, minor };
}
