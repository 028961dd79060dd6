import { runTool } from '../tools/run-tool.ts';

/** What Debian's own images use; it is served from places near to each machine. */
const mainMirror = 'http://deb.debian.org/debian';

/**
 * URLs of mirrors of Debian: the one in DEBIAN_MIRROR, those that apt uses, Debian's own, and those
 * that debootstrap knows, among them the archive of releases that the mirrors no longer have.
 */
export async function debianMirrors(): Promise<string[]> {
  const named = process.env['DEBIAN_MIRROR'];
  const known = await runTool(
    'grep',
    [
      ...[
        '--no-filename',
        '--recursive',
        '--only-matching',
        '--extended-regexp',
        'https?://[a-z.]+[.]debian[.]org/debian\\b',
      ],
      ...['/usr/sbin/debootstrap', '/usr/share/debootstrap'],
    ],
    { acceptedExitCodes: [0, 1, 2] }, // nothing found; without debootstrap
  );
  const all = [
    ...(named === undefined || named === '' ? [] : [named]),
    ...(await mirrorsOfApt()),
    mainMirror,
    ...known.stdout.split('\n').filter(Boolean),
  ];
  const mirrors = all.map((mirror) => mirror.replace(/\/+$/, ''));
  return [...new Set(mirrors)].filter((mirror) => !mirror.endsWith('-security'));
}

/** @returns also those of package lists that apt has not read yet, whose origin it does not know. */
async function mirrorsOfApt(): Promise<string[]> {
  const { stdout: known } = await runTool('apt-get', ['indextargets', '--format', '$(ORIGIN) $(SITE)']);
  const { stdout: named } = await runTool('apt-get', ['indextargets', '--no-release-info', '--format', '$(SITE)']);
  return [
    ...known.split('\n').flatMap((line) => line.match(/^Debian (\S+)$/)?.[1] ?? []),
    ...named.split('\n').filter((site) => /\/debian\/?$/.test(site)),
  ];
}

/** Security updates are beside the archive on Debian's own mirrors: `…/debian` and `…/debian-security`. */
export function securityMirror(mirror: string): string {
  return mirror.replace(/\/+$/, '').replace(/(-security)?$/, '-security');
}
