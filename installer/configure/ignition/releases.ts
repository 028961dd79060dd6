/** An Ignition that Flatcar ships or shipped, and the rules in which it differs from others. */
export interface IgnitionRelease {
  /** As in its ebuild: that of Ignition, and of Flatcar's revision where it changed a rule. */
  readonly version: string;
  /** Minor version of the newest stable 3.x format. The next one is known as experimental. */
  readonly newestStable: number;
  /** Files at the path of a unit are refused, owners of hard links and wiped disks warned of. */
  readonly comparesSections: boolean;
  /** Before, special bits of a mode were dropped without a warning in 3.4 and newer formats. */
  readonly warnsOfSpecialBits: boolean;
  /** Minor version of the first 3.x format that takes every pin of Clevis. */
  readonly anyPinSince: number;
  /** Whether `oem://` is known to the formats after 3.4, and so to the merged config. */
  readonly oemInAllFormats: boolean;
  /** Translates several appended configs, or certificates, of version 2 to the last of them. */
  readonly repeatsLastReference: boolean;
}

const never = Number.POSITIVE_INFINITY;

const ignition26: IgnitionRelease = {
  version: '2.26.0',
  newestStable: 6,
  comparesSections: true,
  warnsOfSpecialBits: true,
  anyPinSince: 6,
  oemInAllFormats: true,
  repeatsLastReference: false,
};
const ignition24r2 = { ...ignition26, version: '2.24.0-r2', newestStable: 5, anyPinSince: never };
const ignition24 = { ...ignition24r2, version: '2.24.0', oemInAllFormats: false };
const ignition22 = { ...ignition24, version: '2.22.0' };
const ignition21 = { ...ignition22, version: '2.21.0', warnsOfSpecialBits: false };
const ignition20 = { ...ignition21, version: '2.20.0', repeatsLastReference: true };
const ignition19 = { ...ignition20, version: '2.19.0', newestStable: 4 };
const ignition18 = { ...ignition19, version: '2.18.0' };
const ignition15 = { ...ignition19, version: '2.15.0' };
const ignition14 = {
  ...ignition15,
  version: '2.14.0',
  newestStable: 3,
  comparesSections: false,
  oemInAllFormats: true,
};

/**
 * Newest first: the first release of Flatcar with each Ignition.
 * Source: `sys-apps/ignition` of https://github.com/flatcar/scripts at the tags of the releases,
 * and `config/v3_N` of https://github.com/coreos/ignition with the patches that are there. 2.26.0
 * is of the main branch of August 2026, from which no release was made by then.
 */
const shipped: readonly (readonly [firstFlatcar: string, ignition: IgnitionRelease])[] = [
  ['4799.0.0', ignition26],
  ['4694.0.0', ignition24r2],
  ['4547.0.0', ignition24],
  ['4459.0.0', ignition22],
  ['4344.0.0', ignition21],
  ['4152.0.0', ignition20],
  ['4012.0.0', ignition19],
  ['3913.0.0', ignition18],
  ['3549.1.1', ignition15],
  ['3510.2.1', ignition14],
];

/** The newest known release; what a newer one has is a guess. */
const newestKnownFlatcar = '4799';

/** What the channels have, which is of November 2026. */
const channels: ReadonlyMap<string, IgnitionRelease> = new Map([
  ['stable', ignition24],
  ['beta', ignition24r2],
  ['alpha', ignition24r2],
  ['lts', ignition19],
]);

/** The streams of LTS, which do not change their Ignition. */
const streams: ReadonlyMap<string, IgnitionRelease> = new Map([
  ['current-2023', ignition14],
  ['current-2024', ignition19],
]);

export const ignitionReleases: readonly IgnitionRelease[] = shipped.map(([, ignition]) => ignition);

/**
 * By the version of Ignition, as `2.24.0`, or with Flatcar's revision, as `2.24.0-r4`; undefined if
 * it is not known.
 */
export function findIgnition(version: string): IgnitionRelease | undefined {
  const [name, revision] = splitRevision(version);
  return ignitionReleases.find((ignition) => {
    const [otherName, otherRevision] = splitRevision(ignition.version);
    return otherName === name && otherRevision <= revision;
  });
}

/** For messages. */
export function describeIgnitions(): string {
  return ignitionReleases.map(({ version }) => version).join(', ');
}

function splitRevision(version: string): readonly [name: string, revision: number] {
  const [, name = version, revision = '0'] = /^(.+?)(?:-r(\d+))?$/.exec(version) ?? [];
  return [name, Number(revision)];
}

/** The Ignition of a release of Flatcar. */
export interface ShippedIgnition {
  readonly ignition: IgnitionRelease;
  /** Why it may be another one. */
  readonly doubt?: string;
}

/**
 * @param version of Flatcar, as `4593.2.5`; `current` for the newest of the channel
 * @returns undefined if nothing is known: an older release, or another channel
 */
export function ignitionOf({ version, channel }: { version: string; channel: string }): ShippedIgnition | undefined {
  if (!/^\d+\.\d+\.\d+/.test(version)) {
    const stream = streams.get(version);
    if (stream !== undefined) return { ignition: stream };
    const ignition = version === 'current' ? channels.get(channel) : undefined;
    if (ignition === undefined) return undefined;
    return { ignition, doubt: `the newest release of the channel ${channel} may have a newer one` };
  }
  const found = shipped.find(([first]) => compareVersions(version, first) >= 0)?.[1];
  if (found === undefined) return undefined;
  const major = Number(version.split('.')[0]);
  if (major <= Number(newestKnownFlatcar)) return { ignition: found };
  return { ignition: found, doubt: `Flatcar ${version} is newer than this program knows` };
}

function compareVersions(one: string, other: string): number {
  const numbers = other.split('.').map(Number);
  const [first = [], second = []] = [one.split(/[.+-]/).slice(0, 3).map(Number), numbers];
  for (const [index, number] of first.entries()) {
    const difference = number - (second[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
