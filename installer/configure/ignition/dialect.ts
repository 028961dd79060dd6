import type { IgnitionRelease } from './releases.ts';

/** A minor version of the 3.x format, as one Ignition checks it. */
export interface Dialect {
  readonly minor: number;
  readonly ignition: IgnitionRelease;
}

/** The format of merged configs, which is one newer than the newest stable one. */
export function mergedDialect(ignition: IgnitionRelease): Dialect {
  return { minor: ignition.newestStable + 1, ignition };
}

/**
 * `oem` is Flatcar's own: a file on the OEM partition.
 * Source: https://coreos.github.io/ignition/migrating-configs/ and Flatcar's patches to Ignition.
 */
export function urlSchemes({ minor, ignition }: Dialect): readonly string[] {
  const schemes = ['http', 'https', 'tftp', 's3', 'data'];
  if (minor >= 2) schemes.push('gs');
  if (minor >= 4) schemes.push('arn');
  if (minor <= 4 || ignition.oemInAllFormats) schemes.push('oem');
  return schemes;
}

export function hashFunctions({ minor }: Dialect): readonly string[] {
  return minor >= 1 ? ['sha512', 'sha256'] : ['sha512'];
}

export function filesystemFormats({ minor }: Dialect): readonly string[] {
  const formats = ['ext4', 'btrfs', 'xfs', 'vfat', 'swap'];
  return minor >= 3 ? [...formats, 'none'] : formats;
}

/** What happens to set-user-ID, set-group-ID and sticky bits of a mode. */
export function specialBits({ minor, ignition }: Dialect): 'kept' | 'warned of' | 'dropped' {
  if (minor >= 6 && ignition.warnsOfSpecialBits) return 'kept';
  return minor <= 3 || (minor <= 5 && ignition.warnsOfSpecialBits) ? 'warned of' : 'dropped';
}
