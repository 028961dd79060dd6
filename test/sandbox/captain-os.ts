/**
 * What CaptainOS does with the image of the agent at its start, as in tinkerbell/captain at 9ea7a56
 * (March 2026): tink-agent-setup and tink-agent-start in mkosi.extra/usr/local/bin, and
 * tink-agent.service. ctr stands for nerdctl, which makes the same requests.
 *
 * It writes a hosts.toml for each of `insecure_registries=`; pulls the image; saves it to a tar;
 * unpacks that; asks tar for each of four names in each blob, first as gzip and then as plain tar;
 * and takes the first file of the name tink-agent or tink-worker to /tink-agent. The kernel command
 * line becomes an environment file, whose variables the service has, and flags. Not reproduced:
 * waits, and the service's limits of files and processes, which a container may not raise.
 */
import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, mkdtempDisposable, readdir, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Containerd } from './containerd.ts';

const namespace = 'default';
const names = ['usr/bin/tink-agent', 'tink-agent', 'usr/local/bin/tink-agent', 'usr/bin/tink-worker'];

/** The value of an argument of a kernel command line, the last one if there are several. */
function argumentOf(kernelCommandLine: string, name: string): string | undefined {
  const all = kernelCommandLine.split(' ').filter((one) => one.startsWith(`${name}=`));
  return all.at(-1)?.slice(name.length + 1);
}

/** The image that it takes: of `tink_worker_image=`, or else by `docker_registry=`. */
function imageOf(kernelCommandLine: string): string {
  const registry = argumentOf(kernelCommandLine, 'docker_registry') ?? 'ghcr.io/tinkerbell';
  return argumentOf(kernelCommandLine, 'tink_worker_image') ?? `${registry}/tink-agent:latest`;
}

/**
 * @param root directory that plays the machine's root
 * @returns the name under which the program was found
 */
export async function installAgent(containerd: Containerd, kernelCommandLine: string, root: string): Promise<string> {
  const configuration = join(root, 'etc/containerd/certs.d');
  for (const registry of (argumentOf(kernelCommandLine, 'insecure_registries') ?? '').split(',')) {
    await mkdir(join(configuration, registry), { recursive: true });
    const capabilities = 'capabilities = ["pull", "resolve", "push"]\n  skip_verify = true\n';
    const text = `server = "http://${registry}"\n\n[host."http://${registry}"]\n  ${capabilities}`;
    await writeFile(join(configuration, registry, 'hosts.toml'), text);
  }
  const image = imageOf(kernelCommandLine);
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

/** Where its containerd listens. */
export const containerdSocket = '/run/containerd/containerd.sock';

/** Variables of the environment file, and the kernel arguments and flags of each. */
const settings = [
  ['TINKERBELL_GRPC_AUTHORITY', 'grpc_authority', '-grpc-server'],
  ['TINKERBELL_TLS', 'tinkerbell_tls', '-grpc-tls='],
  ['TINKERBELL_INSECURE_TLS', 'tinkerbell_insecure_tls', '-grpc-insecure-tls='],
  ['WORKER_ID', 'worker_id', '-id'],
  ['DOCKER_REGISTRY', 'docker_registry', '-registry-name'],
  ['REGISTRY_USERNAME', 'registry_username', '-registry-user'],
  ['REGISTRY_PASSWORD', 'registry_password', '-registry-pass'],
] as const;

/** How its service starts the agent. */
export function agentService(kernelCommandLine: string) {
  const environment: Record<string, string> = {};
  const flags = ['-runtime', 'containerd', '-containerd-socket', containerdSocket, '-transport', 'grpc'];
  for (const [variable, name, flag] of settings) {
    const value = argumentOf(kernelCommandLine, name) ?? (flag.endsWith('=') ? 'false' : '');
    environment[variable] = value;
    if (value === '') continue;
    if (flag.endsWith('=')) flags.push(`${flag}${value}`);
    else flags.push(flag, value);
  }
  for (const proxy of ['HTTP_PROXY', 'HTTPS_PROXY', 'NO_PROXY']) {
    const value = argumentOf(kernelCommandLine, proxy) ?? '';
    if (value !== '') environment[proxy] = value;
  }
  return {
    // What systemd gives each service.
    environment: { PATH: '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin', ...environment },
    program: '/tink-agent',
    flags,
  };
}
