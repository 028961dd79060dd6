/**
 * What CaptainOS (as of March 2026) does with the image of the agent at its start, with ctr in
 * place of nerdctl, which makes the same requests.
 *
 * It writes a hosts.toml for each of `insecure_registries=`; pulls the image; saves it to a tar;
 * unpacks that; asks tar for each of four names in each blob, first as gzip and then as plain tar;
 * and takes the first file of the name tink-agent or tink-worker to /tink-agent. The kernel command
 * line becomes an environment file, and that becomes flags.
 */
import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, mkdtempDisposable, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Containerd } from './containerd.ts';

const namespace = 'default';
const names = ['usr/bin/tink-agent', 'tink-agent', 'usr/local/bin/tink-agent', 'usr/bin/tink-worker'];

/**
 * @param root directory that plays the machine's root
 * @returns the name under which the program was found
 */
export async function installAgent(
  containerd: Containerd,
  image: string,
  root: string,
  insecureRegistries: readonly string[],
): Promise<string> {
  const configuration = join(root, 'etc/containerd/certs.d');
  for (const registry of insecureRegistries) {
    await mkdir(join(configuration, registry), { recursive: true });
    const capabilities = 'capabilities = ["pull", "resolve", "push"]\nskip_verify = true\n';
    const text = `server = "http://${registry}"\n\n[host."http://${registry}"]\n${capabilities}`;
    await writeFile(join(configuration, registry, 'hosts.toml'), text);
  }
  await containerd.ctr('--namespace', namespace, 'images', 'pull', '--hosts-dir', configuration, image);
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-captain-'));
  const [saved, unpacked, found] = ['image.tar', 'unpacked', 'found'].map((name) => join(scratch.path, name)) as [
    string,
    string,
    string,
  ];
  for (const directory of [unpacked, found]) await mkdir(directory);
  await containerd.ctr('--namespace', namespace, 'images', 'export', saved, image);
  await execa('tar', ['-xf', saved, '-C', unpacked]);
  const blobs = join(unpacked, 'blobs/sha256');
  for (const blob of await readdir(blobs)) {
    for (const name of names) {
      const take = (flags: string) =>
        execa('tar', [flags, join(blobs, blob), '-C', found, name], { reject: false, stderr: 'ignore' });
      if ((await take('-xzf')).exitCode !== 0 && (await take('-xf')).exitCode !== 0) continue;
      const files = await readdir(found, { recursive: true, withFileTypes: true });
      const file = files.find((one) => one.isFile() && ['tink-agent', 'tink-worker'].includes(one.name));
      assert.ok(file, `${name} is no file`);
      await copyFile(join(file.parentPath, file.name), join(root, 'tink-agent'));
      await chmod(join(root, 'tink-agent'), 0o755);
      return name;
    }
  }
  assert.fail(`no layer of ${image} has ${names.join(' or ')}`);
}

/**
 * The flags of the agent's service.
 * @param socketPath of containerd; CaptainOS has it in /run/containerd
 */
export function agentFlags(
  socketPath: string,
  cmdline: Readonly<Record<'grpc_authority' | 'worker_id' | 'docker_registry', string>>,
): string[] {
  return [
    ...['-runtime', 'containerd', '-containerd-socket', socketPath, '-transport', 'grpc'],
    ...['-grpc-server', cmdline.grpc_authority, '-grpc-tls=false', '-grpc-insecure-tls=false'],
    ...['-id', cmdline.worker_id, '-registry-name', cmdline.docker_registry],
  ];
}
