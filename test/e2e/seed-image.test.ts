/**
 * The blog post's commands, template and config, word for word, with the image that a site makes;
 * the demo (--template seed) does it in a virtual machine.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { createLoopDevice } from '../sandbox/loop-device.ts';
import { createSandboxNetwork } from '../sandbox/network.ts';
import { readOemFile } from '../sandbox/oem-file.ts';
import { makeSignedRelease, releaseVersion, type SignedRelease } from '../sandbox/signed-release.ts';

const root = resolve(import.meta.dirname, '../..');

test('the actions of the blog post install from the release server of a site, which only the image knows, and its config of version 2.1.0', async (context) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-seed-'));
  context.after(() => rm(directory, { recursive: true }));
  await using release = await makeSignedRelease();
  await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
  const releases = await layOut(release, directory);
  // Where `make images` has not done it yet, this downloads the packages of the image: inside there
  // is no way to Debian's servers.
  const built = join(root, 'build/flatcar-install.oci.tar');
  if (!existsSync(built)) await execa(process.execPath, [join(root, 'initramfs/action-image.ts')]);
  const output = await runInNetwork([directory, disk.path, releases, release.keyPath]);

  assert.match(output, new RegExp(`Good signature by ${release.subkey} `));
  assert.match(
    output,
    /Success! Flatcar Container Linux stable 1\.2\.3 \(as the server claims\) is installed on \/dev\/loop/,
  );
  const questions = await readFile(join(directory, 'dnsmasq.log'), 'utf8');
  assert.match(questions, /query\[A\] stable\.release\.flatcar-linux\.net from 192\.168\.1\.1/);

  const template = await readFile(join(directory, 'provisioner/flatcar-template.yaml.tmpl'), 'utf8');
  const [, encoded = ''] = /echo '(\S+)' \| base64 -d/.exec(template) ?? [];
  const config = await readOemFile(disk.path, 'config.ign');
  assert.match(config.toString(), /"version" : "2\.1\.0"/);
  assert.deepEqual(config, Buffer.from(encoded, 'base64'), 'byte for byte');
});

/** As the server of the releases has it. */
async function layOut(release: SignedRelease, directory: string): Promise<string> {
  const server = join(directory, 'releases');
  for (const name of ['current', releaseVersion]) await mkdir(join(server, name), { recursive: true });
  await writeFile(join(server, 'current/version.txt'), `FLATCAR_VERSION=${releaseVersion}\n`);
  const image = join(server, releaseVersion, 'flatcar_production_image.bin.bz2');
  await writeFile(image, release.compressed);
  await writeFile(`${image}.sig`, release.signature);
  return server;
}

/**
 * In a network namespace the provisioner has the addresses of the post, whatever this machine's
 * network is.
 */
async function runInNetwork(args: readonly string[]): Promise<string> {
  await using network = await createSandboxNetwork({ name: 'nibs-seed', address: '192.168.1.1/29' });
  const program = [process.execPath, join(import.meta.dirname, 'seed-image-in-network.ts'), ...args];
  const { stdout } = await execa('ip', ['netns', 'exec', network.namespace, ...program]);
  return stdout;
}
