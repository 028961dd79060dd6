import { checkIgnition, formatProblem, type IgnitionCheck, type Problem } from './check.ts';
import { type IgnitionRelease, ignitionOf, ignitionReleases } from './releases.ts';

/** A release of Flatcar, or an Ignition. */
export interface FlatcarRelease {
  readonly version: string;
  readonly channel: string;
}

export interface Assessment {
  readonly check: IgnitionCheck;
  readonly ignition: IgnitionRelease;
  /** Where it is not certain which Ignition will read the config, and it makes a difference. */
  readonly doubts: readonly string[];
}

/** Limits the output for a file of another kind. */
const maxListed = 10;

/**
 * Checks a config by the rules of the Ignition that will read it.
 * @param reader a release of Flatcar, or an Ignition; undefined if neither is known, where a config
 *   is refused only if every known Ignition refuses it
 * @param canBeNewer takes the rules of a newer Ignition, if there may be one and it accepts
 */
export function assessIgnition(
  bytes: Uint8Array,
  reader: FlatcarRelease | IgnitionRelease | undefined,
  canBeNewer = false,
): Assessment {
  if (reader !== undefined && 'newestStable' in reader)
    return { check: checkIgnition(bytes, reader), ignition: reader, doubts: [] };
  const shipped = reader === undefined ? undefined : ignitionOf(reader);
  const known = shipped === undefined ? ignitionReleases : [shipped.ignition, ...newerThan(shipped.ignition)];
  const [first] = known;
  if (first === undefined) throw new RangeError('no Ignition is known');
  const check = checkIgnition(bytes, first);
  const assumed = { check, ignition: first, doubts: [] };
  const doubt =
    reader === undefined || shipped === undefined ? 'it is not known which Ignition the image has' : shipped.doubt;
  if (doubt === undefined) return assumed;
  const others = known.slice(1).map((ignition) => ({ ignition, check: checkIgnition(bytes, ignition) }));
  const different = others.filter((other) => isRefused(other.check) !== isRefused(check));
  const [other] = different;
  if (other === undefined) return assumed;
  const wouldPass = isRefused(check) && (shipped === undefined || canBeNewer);
  const chosen = wouldPass ? other : assumed;
  const opponent = wouldPass ? assumed : other;
  return { ...chosen, doubts: [`${doubt}, and ${describeVerdict(opponent)}`] };
}

function isRefused({ verdict }: IgnitionCheck): boolean {
  return verdict === 'reject';
}

function newerThan(ignition: IgnitionRelease): readonly IgnitionRelease[] {
  return ignitionReleases.slice(0, ignitionReleases.indexOf(ignition)).toReversed();
}

function describeVerdict({ check, ignition }: Omit<Assessment, 'doubts'>): string {
  const [problem] = check.errors;
  if (problem === undefined) return `Ignition ${ignition.version} accepts this config`;
  return `Ignition ${ignition.version} refuses this config: ${formatProblem(problem)}`;
}

/** At most `maxListed`, and the number of the others. */
export function listProblems(problems: readonly Problem[]): string[] {
  const listed = problems.slice(0, maxListed).map(formatProblem);
  const left = problems.length - listed.length;
  return left > 0 ? [...listed, `and ${left} more`] : listed;
}
