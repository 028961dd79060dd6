/** Source: https://pkg.go.dev/github.com/coreos/go-semver/semver. */
export interface SemanticVersion {
  readonly numbers: readonly [major: bigint, minor: bigint, patch: bigint];
  /** What follows the numbers: `-experimental`, `+metadata` or nothing. */
  readonly suffix: string;
}

/** Leading zeros are allowed, as by the library that Ignition uses. */
export function parseSemanticVersion(text: string): SemanticVersion | undefined {
  const match = /^(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]*))?(?:\+([0-9A-Za-z.-]*))?$/.exec(text);
  if (match === null) return undefined;
  const [, major = '', minor = '', patch = '', preRelease = '', metadata = ''] = match;
  const numbers = [BigInt(major), BigInt(minor), BigInt(patch)] as const;
  if (numbers.some((number) => number >= 2n ** 63n)) return undefined;
  return {
    numbers,
    suffix: (preRelease === '' ? '' : `-${preRelease}`) + (metadata === '' ? '' : `+${metadata}`),
  };
}

/** As it is usually written: `3.3.0` for `3.03.0`. */
export function formatSemanticVersion({ numbers, suffix }: SemanticVersion): string {
  return numbers.join('.') + suffix;
}

/** Whether `one` is older than a version without a suffix. */
export function isOlder(one: SemanticVersion, major: number, minor: number): boolean {
  const release = [BigInt(major), BigInt(minor), 0n];
  for (const [index, number] of one.numbers.entries()) {
    const other = release[index] ?? 0n;
    if (number !== other) return number < other;
  }
  // A version with a pre-release is older than the same without.
  return one.suffix.startsWith('-');
}
