import { runTool } from '../tools/run-tool.ts';

/**
 * URLs of mirrors of Debian: the one in DEBIAN_MIRROR, those that apt uses, and those that
 * debootstrap knows, among them the archive of releases that the mirrors no longer have.
 */
export async function debianMirrors(): Promise<string[]> {
  const named = process.env['DEBIAN_MIRROR'];
  const ofApt = await runTool('apt-get', ['indextargets', '--format', '$(ORIGIN) $(SITE)']);
  const ofDebian = ofApt.stdout.split('\n').flatMap((line) => line.match(/^Debian (\S+)$/)?.[1] ?? []);
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
    ...ofDebian,
    ...known.stdout.split('\n').filter(Boolean),
  ];
  const mirrors = all.map((mirror) => mirror.replace(/\/+$/, ''));
  return [...new Set(mirrors)].filter((mirror) => !mirror.endsWith('-security'));
}

/** Security updates are beside the archive on Debian's own mirrors: `…/debian` and `…/debian-security`. */
export function securityMirror(mirror: string): string {
  return mirror.replace(/\/+$/, '').replace(/(-security)?$/, '-security');
}
