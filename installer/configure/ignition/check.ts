import { mergedDialect } from './dialect.ts';
import { type Finding, type Findings, JsonCursor, noFindings } from './findings.ts';
import { whyIgnored } from './ignored.ts';
import { type JsonNode, JsonSyntaxError, parseJson } from './json.ts';
import { JsonLocator } from './json-locator.ts';
import { recogniseOtherFormat } from './other-format.ts';
import { checkContents } from './references.ts';
import type { IgnitionRelease } from './releases.ts';
import { renderConfig } from './render.ts';
import { checkVersion3 } from './rules3.ts';

/**
 * A larger text that is not JSON is not searched for YAML: it may be anything, such as an image.
 */
const maxOtherBytes = 1024 * 1024;

/** Something that was found in a config. */
export interface Problem {
  /** `$.storage.files.0.path`; undefined for the file as a whole. */
  readonly path?: string;
  /** Both count from 1; undefined for what has no place in the file. */
  readonly line?: number;
  readonly column?: number;
  readonly message: string;
  readonly hint?: string | undefined;
}

export interface IgnitionCheck {
  /** What the first boot does: goes on, goes on and logs warnings, or fails. */
  readonly verdict: 'accept' | 'warn' | 'reject';
  /** As in the config; `1` for the format without `ignition.version`; undefined if it has none. */
  readonly version: string | undefined;
  /** What it is, if Ignition goes on as if there were no config: `it is empty`. */
  readonly ignored?: string;
  /** Empty unless the verdict is `reject`. */
  readonly errors: readonly Problem[];
  /** What Ignition itself warns of. */
  readonly warnings: readonly Problem[];
  /** What Ignition does without a word, although it is hardly meant. */
  readonly advice: readonly Problem[];
}

/**
 * Checks a config as the first boot does: it is parsed, translated from older versions, merged with
 * the configs that it contains in data URLs, checked again, and what else it has in data URLs is
 * decoded. What is on servers is not checked.
 */
export function checkIgnition(bytes: Uint8Array, ignition: IgnitionRelease): IgnitionCheck {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const ignored = whyIgnored(buffer);
  if (ignored !== undefined) return ignoredConfig(ignored, buffer);
  let top: JsonNode;
  try {
    top = parseJson(buffer);
  } catch (error) {
    if (!(error instanceof JsonSyntaxError)) throw error;
    return rejected(undefined, [describeSyntaxError(buffer, error)]);
  }
  if (top.kind !== 'object' && top.kind !== 'null')
    return rejected(undefined, [{ message: 'it is JSON, but not an object' }]);
  return checkJson(buffer, top, ignition);
}

function checkJson(bytes: Buffer, top: JsonNode, ignition: IgnitionRelease): IgnitionCheck {
  const findings = noFindings();
  const { version, merged, isMerged } = renderConfig({ bytes, top, ignition, findings, depth: 0 });
  if (merged !== undefined && findings.errors.length === 0) {
    const found = noFindings();
    const cursor = new JsonCursor(found);
    checkVersion3(merged, mergedDialect(ignition), cursor);
    if (found.errors.length === 0) checkContents(merged, cursor);
    adopt(found, isMerged, findings);
  }
  const locator = new JsonLocator(bytes);
  const describe = (list: readonly Finding[]) => list.map((finding) => describeFinding(finding, locator, top));
  const errors = describe(findings.errors);
  const warnings = describe(findings.warnings);
  const advice = describe(findings.advice);
  const verdict = errors.length > 0 ? 'reject' : warnings.length > 0 ? 'warn' : 'accept';
  return { verdict, version, errors, warnings, advice };
}

/** Findings about the merged config have no place in this one, unless nothing was merged. */
function adopt(found: Findings, isMerged: boolean, findings: Findings): void {
  const place = ({ path, message }: Finding): Finding =>
    isMerged ? { path: [], message: `in the merged config, ${formatPath(path)}: ${message}` } : { path, message };
  // No spread: there can be more findings than a call can have arguments.
  for (const error of found.errors) findings.errors.push(place(error));
  const known = new Set(findings.warnings.map(({ message }) => message));
  for (const warning of found.warnings) if (!known.has(warning.message)) findings.warnings.push(place(warning));
}

function rejected(version: string | undefined, errors: readonly Problem[]): IgnitionCheck {
  return { verdict: 'reject', version, errors, warnings: [], advice: [] };
}

function ignoredConfig(why: string, bytes: Buffer): IgnitionCheck {
  const hint = bytes.length === 0 ? undefined : 'give it with -c';
  const message = `${why}: Ignition ignores it and goes on without a config`;
  const advice = [{ message, ...(hint !== undefined && { hint }) }];
  return { verdict: 'accept', version: undefined, ignored: why, errors: [], warnings: [], advice };
}

function describeSyntaxError(bytes: Buffer, { message, offset }: JsonSyntaxError): Problem {
  if (bytes[0] === 0x1f && bytes[1] === 0x8b)
    return { message: 'it is compressed with gzip', hint: 'decompress it first' };
  if (bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf) {
    return {
      message: 'it starts with a byte order mark, which Ignition does not accept',
      hint: 'save it as UTF-8 without one',
    };
  }
  const other = bytes.length <= maxOtherBytes ? recogniseOtherFormat(bytes.toString()) : undefined;
  if (other !== undefined) return { message: other.why, ...(other.hint !== undefined && { hint: other.hint }) };
  const { line, column } = new JsonLocator(bytes).positionOf(offset);
  return { line, column, message: `it is not valid JSON: ${message}` };
}

function describeFinding(finding: Finding, locator: JsonLocator, top: JsonNode): Problem {
  const { path, message } = finding;
  return path.length === 0 ? { message } : { path: formatPath(path), ...locator.locate(top, finding), message };
}

function formatPath(path: Finding['path']): string {
  return ['$', ...path].join('.');
}

/** `$.storage.files.0.path (line 3, column 14): …`. */
export function formatProblem({ path, line, column, message, hint }: Problem): string {
  const place = line === undefined ? '' : `line ${line}, column ${column}`;
  const text =
    path === undefined ? (place === '' ? message : `${message} in ${place}`) : `${path} (${place}): ${message}`;
  return hint === undefined ? text : `${text} (${hint})`;
}
