import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';

const imageName = 'flatcar_production_image.bin.bz2'; // the name the installer asks for, whatever the image is

/**
 * Lays an image out as a release server does: `<version>/` with compressed image, signature and
 * version.txt, and `current` leading there.
 * @param publicKeyFile where the armoured public key goes; the private one is thrown away.
 * @returns the path of the compressed image.
 */
export async function makeMirror(
  image: string,
  version: string,
  mirror: string,
  publicKeyFile: string,
  signal: AbortSignal,
): Promise<string> {
  const release = join(mirror, version);
  await mkdir(release, { recursive: true });
  const compressed = join(release, imageName);
  await execa('lbzip2', ['-9', '--keep', '--stdout', image], { stdout: { file: compressed }, cancelSignal: signal });
  await writeFile(
    join(release, 'version.txt'),
    `FLATCAR_VERSION=${version}\nFLATCAR_VERSION_ID=${version}\nFLATCAR_BUILD_ID=""\nFLATCAR_SDK_VERSION=${version}\n`,
  );
  await sign([compressed, join(release, 'version.txt')], publicKeyFile, signal);
  await symlink(version, join(mirror, 'current'));
  return compressed;
}

/**
 * Detached binary signatures `<file>.sig` by the subkey of a key made for the purpose, the way the
 * original is signed.
 */
async function sign(files: readonly string[], publicKeyFile: string, signal: AbortSignal): Promise<void> {
  const home = await mkdtemp(join(tmpdir(), 'nibs-gpg-')); // short: the path of the agent's socket must fit 108 bytes
  const gpg = async (...command: string[]): Promise<string> => {
    const options = ['--homedir', home, '--batch', '--quiet', '--pinentry-mode', 'loopback', '--passphrase', ''];
    return (await execa('gpg', [...options, ...command], { cancelSignal: signal })).stdout;
  };
  try {
    await gpg(
      '--quick-generate-key',
      'nibs sandbox OS (test images) <sandbox@nibs.invalid>',
      'rsa4096',
      'cert,sign',
      'never',
    );
    const primary = /^fpr:+([0-9A-F]{40}):/m.exec(await gpg('--with-colons', '--list-secret-keys'))?.[1];
    if (primary === undefined) throw new Error('gpg made no signing key');
    await gpg('--quick-add-key', primary, 'rsa4096', 'sign', '2y');
    for (const file of files)
      await gpg('--yes', '--digest-algo', 'SHA512', '--output', `${file}.sig`, '--detach-sign', file);
    await gpg('--yes', '--armor', '--output', publicKeyFile, '--export', primary);
  } finally {
    await execa('gpgconf', ['--homedir', home, '--kill', 'all']);
    await rm(home, { recursive: true, force: true });
  }
}
