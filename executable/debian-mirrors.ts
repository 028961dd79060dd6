import { execa } from 'execa';

/** URLs of mirrors of Debian: the one that DEBIAN_MIRROR names, those that apt uses, and those that debootstrap knows: it has that of releases that the mirrors no longer have. */
export async function debianMirrors(): Promise<string[]> {
  const named = process.env['DEBIAN_MIRROR'];
  const ofApt = await execa('apt-get', ['indextargets', '--format', '$(ORIGIN) $(SITE)'], { lines: true });
  const ofDebian = ofApt.stdout.flatMap((line) => line.match(/^Debian (\S+)$/)?.[1] ?? []);
  const known = await execa(
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
    { lines: true, reject: false },
  );
  const all = [...(named === undefined || named === '' ? [] : [named]), ...ofDebian, ...known.stdout];
  return [...new Set(all.map((mirror) => mirror.replace(/\/+$/, '')))];
}
