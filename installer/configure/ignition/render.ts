import { type Findings, JsonCursor, noFindings } from './findings.ts';
import { whyIgnored } from './ignored.ts';
import { type JsonNode, JsonSyntaxError, parseJson } from './json.ts';
import { JsonLocator } from './json-locator.ts';
import { mergeConfigs } from './merge.ts';
import { parseConfig } from './parse.ts';
import { checkCertificates, checkConfigHash, readData } from './references.ts';
import type { IgnitionRelease } from './releases.ts';
import { type Config3, config3, type Resource } from './schema3.ts';

/** Compressed data can contain itself, which Ignition follows without end. */
const maxDepth = 100;

interface ConfigSource {
  readonly bytes: Buffer;
  readonly top: JsonNode;
  readonly ignition: IgnitionRelease;
  readonly findings: Findings;
  /** Of configs that contain configs. */
  readonly depth: number;
}

export interface RenderedConfig {
  readonly version: string | undefined;
  /** Without what is on servers; undefined if there are errors, or if a server has all of it. */
  readonly merged: Config3 | undefined;
  /** Whether `merged` is of several configs. */
  readonly isMerged: boolean;
}

/**
 * Parses a config and those that it contains in data URLs, and merges them.
 * Source: `RenderConfig()` of internal/exec/config_fetcher.go of
 * https://github.com/coreos/ignition.
 */
export function renderConfig(source: ConfigSource): RenderedConfig {
  const cursor = new JsonCursor(source.findings);
  const { version, config } = parseConfig(source);
  if (config === undefined) return { version, merged: undefined, isMerged: false };
  checkCertificates(config, cursor);
  const { merge, replace } = config.ignition.config;
  const section = cursor.at('ignition', 'config');
  if (replace.source !== undefined) {
    const replacing = renderReference(replace, source, section.at('replace'));
    adviseOnReplace(config, replacing, section.at('replace'));
    return { version, merged: replacing, isMerged: true };
  }
  const key = version !== undefined && /^[12]/.test(version) ? 'append' : 'merge';
  let merged = config;
  let isMerged = false;
  for (const [index, reference] of merge.entries()) {
    const child = renderReference(reference, source, section.at(key, index));
    if (child === undefined) continue;
    merged = mergeConfigs(config3, merged, child);
    isMerged = true;
  }
  return { version, merged, isMerged };
}

/** @returns undefined after an error, and for a config on a server */
function renderReference(
  reference: Resource,
  { ignition, depth }: ConfigSource,
  cursor: JsonCursor,
): Config3 | undefined {
  const at = cursor.at('source');
  if (depth >= maxDepth) {
    at.error(`configs in data URLs are nested more than ${maxDepth} levels deep`);
    return undefined;
  }
  if (reference.source === '') at.error('there is no source: Ignition finds no config');
  const bytes = readData(reference, cursor);
  if (bytes === undefined) return undefined;
  checkConfigHash(reference, bytes, cursor);
  const ignored = whyIgnored(bytes);
  if (ignored !== undefined) at.error(`the config in this data URL is none: ${ignored}`);
  if (ignored !== undefined) return undefined;
  const locator = new JsonLocator(bytes);
  try {
    const findings = noFindings();
    const top = parseJson(bytes);
    const { merged } = renderConfig({ bytes, top, ignition, findings, depth: depth + 1 });
    for (const kind of ['errors', 'warnings', 'advice'] as const) {
      for (const finding of findings[kind]) {
        const { path, message } = finding;
        const { line, column } = locator.locate(top, finding);
        const text = `in the config of this data URL, ${['$', ...path].join('.')} (line ${line}, column ${column}): ${message}`;
        if (kind === 'errors') at.error(text);
        else if (kind === 'warnings') at.warn(text);
        else at.advise(text);
      }
    }
    return merged;
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    const { line, column } = locator.positionOf(error.offset);
    at.error(`the config in this data URL is not valid JSON: ${error.message} in line ${line}, column ${column}`);
    return undefined;
  }
}

/** All of a config but its `replace` is ignored, which has locked people out. */
function adviseOnReplace(config: Config3, replacing: Config3 | undefined, cursor: JsonCursor): void {
  const { passwd, storage, systemd, kernelArguments } = config;
  const ignored = Object.entries({ passwd, storage, systemd, kernelArguments }).filter(([, section]) =>
    Object.values(section).some((list) => list.length > 0),
  );
  if (ignored.length > 0)
    cursor.advise(
      `the config that replaces this one has all of it: ${ignored.map(([name]) => name).join(', ')} of this one is ignored`,
    );
  if (replacing !== undefined && !hasLogin(replacing))
    cursor.advise(
      'the config that replaces this one has no user with a key or password: no person can log in to the machine',
    );
}

function hasLogin({ ignition, passwd }: Config3): boolean {
  const isRemote = ignition.config.merge.length > 0 || ignition.config.replace.source !== undefined;
  return isRemote || passwd.users.some((user) => user.sshAuthorizedKeys.length > 0 || (user.passwordHash ?? '') !== '');
}
