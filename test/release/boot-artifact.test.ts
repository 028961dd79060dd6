/** The boot image as Tinkerbell's chart takes CaptainOS: an image volume below a web server. */
import { deepEqual, equal, rejects } from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { writeBootArtifact } from '../../release/boot-artifact.ts';
import { verifyBootArtifact } from '../../release/verify/boot-artifact.ts';
import { startContainerd } from '../sandbox/containerd.ts';
import { startDaemon } from '../sandbox/daemon.ts';
import { loopbackAddress } from '../sandbox/loopback-address.ts';
import { startPlainRegistry } from '../sandbox/plain-registry.ts';

const root = join(import.meta.dirname, '../..');
const archive = 'nibs-boot-image.oci.tar';

let scratch: string;
let files: readonly string[];
let checksums: ReadonlyMap<string, string>;

before(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'nibs-boot-artifact-'));
  const names = ['vmlinuz-x86_64', 'initramfs-x86_64', 'nibs-x86_64.iso', 'vmlinuz-aarch64', 'initramfs-aarch64'];
  files = names.map((name) => join(scratch, name));
  for (const file of files) await writeFile(file, `content of ${basename(file)}`, { mode: 0o600 });
  checksums = new Map(
    names.map((name) => [name, createHash('sha256').update(`content of ${name}`).digest('hex')] as const),
  );
});

after(() => rm(scratch, { recursive: true, force: true }));

/** @returns the directory with the archive */
async function make(included: readonly string[]): Promise<string> {
  const directory = await mkdtemp(join(scratch, 'release-'));
  const annotations = { 'org.opencontainers.image.version': '1.2.3' };
  const artifact = { reference: 'nibs-boot-image:1.2.3', files: included, annotations, created: new Date(0) };
  await writeBootArtifact(artifact, join(directory, archive), await mkdtemp(join(scratch, 'parts-')));
  return directory;
}

test('the same files give the same bytes', async () => {
  const [one, another] = [await make(files), await make(files)];
  deepEqual(await readFile(join(one, archive)), await readFile(join(another, archive)));
});

test('it is verified, and refused with a changed, an additional and a missing file', async () => {
  const path = join(await make(files), archive);
  const { platforms, version } = await verifyBootArtifact(path, checksums);
  deepEqual([platforms, version], [['linux/amd64', 'linux/arm64'], '1.2.3']);
  const other = new Map([...checksums, ['initramfs-x86_64', '0'.repeat(64)]]);
  await rejects(verifyBootArtifact(path, other), /its initramfs-x86_64 is not that of the release/);
  const less = new Map([...checksums].filter(([name]) => name !== 'vmlinuz-x86_64'));
  await rejects(verifyBootArtifact(path, less), /it has vmlinuz-x86_64, which is no boot image of the release/);
  const more = new Map([...checksums, ['nibs-aarch64.iso', '0'.repeat(64)]]);
  await rejects(verifyBootArtifact(path, more), /it does not have nibs-aarch64\.iso/);
});

for (const architecture of ['amd64', 'arm64']) {
  test(`a ${architecture} node mounts it from a registry, and nginx serves what smee asks for`, async (t) => {
    await using registry = await startPlainRegistry();
    const push = [join(root, 'release/push.ts'), '--directory', await make(files)];
    await execa(process.execPath, [...push, '--', `${registry.host}/nibs`, '--dest-tls-verify=false']);

    // What the kubelet has containerd do for a volume of the kind image.
    await using containerd = await startContainerd();
    const reference = `${registry.host}/nibs/nibs-boot-image:1.2.3`;
    const inKubernetes = (...parameters: string[]) => containerd.ctr('--namespace', 'k8s.io', 'images', ...parameters);
    const platform = ['--platform', `linux/${architecture}`];
    await inKubernetes('pull', '--plain-http', ...platform, reference);
    const volume = join(containerd.directory, 'captain');
    await mkdir(volume);
    await inKubernetes('mount', ...platform, reference, volume);
    t.after(() => execa('umount', [volume], { reject: false }));

    // As the chart's nginx.conf (tinkerbell/tinkerbell at 9111b51:
    // helm/tinkerbell/templates/osie/nginx-configmap.yaml), at another address and path.
    const address = `${loopbackAddress()}:7173`;
    const location = `location / { sendfile on; sendfile_max_chunk 1m; root ${volume}; }`;
    const http = `http { access_log off; server { listen ${address}; ${location} } }`;
    const configuration = join(scratch, `nginx-${architecture}.conf`);
    await writeFile(configuration, `pid ${scratch}/nginx.pid; worker_processes 1; events {} user root; ${http}`);
    const daemon = await startDaemon({
      program: 'nginx',
      parameters: ['-c', configuration, '-e', join(scratch, 'error.log'), '-g', 'daemon off;'],
      logPath: join(scratch, 'nginx.log'),
      ask: () => fetch(`http://${address}/`),
    });
    try {
      for (const file of files) {
        const response = await fetch(`http://${address}/${basename(file)}`);
        equal(`${response.status} ${await response.text()}`, `200 ${await readFile(file, 'utf8')}`);
      }
    } finally {
      await daemon.end();
      await inKubernetes('unmount', volume);
    }
  });
}
