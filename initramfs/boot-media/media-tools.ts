import { fetchLockedTools, type LockedTools } from '../locked-tools.ts';
import { mediaToolPackages } from '../package-sets.ts';

const paths = {
  'grub-mkimage': 'usr/bin/grub-mkimage',
  mformat: 'usr/bin/mformat',
  mmd: 'usr/bin/mmd',
  mcopy: 'usr/bin/mcopy',
  sbsign: 'usr/bin/sbsign',
  sbverify: 'usr/bin/sbverify',
  xorriso: 'usr/bin/xorriso',
};

/** The tools that make boot media: same versions, same bytes on every build machine. */
export type MediaTools = LockedTools<keyof typeof paths>;

/**
 * Fetches and unpacks the tools into `cache`, unless they are there.
 * @throws {Error} no mirror has a package
 */
export function fetchMediaTools(cache: string): Promise<MediaTools> {
  return fetchLockedTools(mediaToolPackages, paths, cache);
}
