/** Differences between the rules of the versions of Ignition's format. */
export interface Dialect {
  readonly major: number;
  readonly minor: number;
  readonly urlSchemes: readonly string[];
  readonly hashes: readonly string[];
  /** Whether a hash without a source is an error. */
  readonly hashNeedsSource: boolean;
  readonly filesystemFormats: readonly string[];
}

/**
 * `oem` is Flatcar's own: a file on the OEM partition.
 * Source: https://coreos.github.io/ignition/migrating-configs/ and Flatcar's patches to Ignition.
 */
export function dialect2(minor: number): Dialect {
  const schemes = ['http', 'https', 'data', 'oem', 'efi'];
  return {
    major: 2,
    minor,
    urlSchemes: minor >= 1 ? [...schemes, 'tftp', 's3'] : schemes,
    hashes: ['sha512'],
    hashNeedsSource: false,
    filesystemFormats: minor >= 1 ? ['ext4', 'btrfs', 'xfs', 'vfat', 'swap'] : ['ext4', 'btrfs', 'xfs'],
  };
}

export function dialect3(minor: number): Dialect {
  const urlSchemes = ['http', 'https', 'tftp', 's3', 'data', 'oem'];
  if (minor >= 2) urlSchemes.push('gs');
  if (minor >= 4) urlSchemes.push('arn');
  const filesystemFormats = ['ext4', 'btrfs', 'xfs', 'vfat', 'swap'];
  if (minor >= 3) filesystemFormats.push('none');
  return {
    major: 3,
    minor,
    urlSchemes,
    hashes: minor >= 1 ? ['sha512', 'sha256'] : ['sha512'],
    hashNeedsSource: true,
    filesystemFormats,
  };
}
