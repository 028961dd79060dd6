import { debianMirrors } from './mirrors.ts';
import { release } from './package.ts';

/** A release of Debian: where its packages are, and whose signature its package lists need. */
export interface Archive {
  /** Code name. */
  readonly release: string;
  /** Suites beside that of the release: `updates` is `<release>-updates`. */
  readonly suites: readonly ('updates' | 'backports' | 'security')[];
  readonly components: readonly ('main' | 'non-free-firmware')[];
  /** File with the OpenPGP keys that may sign the package lists. */
  readonly keyring: string;
  /** URLs of mirrors, in the order in which they are tried. Security updates are beside each. */
  mirrors(): Promise<readonly string[]>;
}

/** From the package debian-archive-keyring. */
export const debianKeyring = '/usr/share/keyrings/debian-archive-keyring.gpg';

/** What the products are made from. Firmware of cards is not free software. */
export const debianArchive: Archive = {
  release,
  suites: ['updates', 'backports', 'security'],
  components: ['main', 'non-free-firmware'],
  keyring: debianKeyring,
  mirrors: debianMirrors,
};
