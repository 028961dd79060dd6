/**
 * The test files: what each needs, and which of them take long. `node test/files.ts FILE...` prints
 * the layer of each.
 */

import { glob, readFile } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { build } from 'esbuild';

/**
 * - unit: Node alone, as any user. No file that it loads starts a program, and none in test/ gives
 *   a file to another user.
 * - integration: programs of the machine, mostly as root, or the executable.
 * - machine: starts a virtual machine.
 */
export type Layer = 'unit' | 'integration' | 'machine';

export interface TestFile {
  /** Relative to the repository. */
  readonly path: string;
  readonly layer: Layer;
}

export const repository = join(import.meta.dirname, '..');

/**
 * Take longer than the others and therefore start first, in this order: those that mostly wait
 * stand between those that need the processor (virtual machines are emulated).
 */
export const longFiles: readonly string[] = [
  'test/release/release.test.ts',
  'test/agent/kill-anywhere.test.ts',
  'test/initramfs/boot.test.ts',
  'test/agent/outage.test.ts',
  'test/e2e/seed-image.test.ts',
  'test/templates/templates.test.ts',
  'test/initramfs/network.test.ts',
  'test/installer/interrupt.test.ts',
  'test/agent/runtime/container-runtime.test.ts',
  'test/agent/syslog/receivers.test.ts',
  'test/agent/runtime/restart.test.ts',
  'test/installer/install.test.ts',
  'test/installer/qcow2/qcow2.test.ts',
  'test/installer/image2disk/image2disk.test.ts',
  'test/docs/commands.test.ts',
  'test/docs/many-machines.test.ts',
  'test/agent/runtime/hostname.test.ts',
  'test/agent/runtime/log-drivers.test.ts',
  'test/agent/runtime/flood.test.ts',
  'test/agent/runtime/containerd/image/pull.test.ts',
  'test/agent/runtime/images.test.ts',
  'test/agent/main.test.ts',
  'test/sandbox/machine.test.ts',
  'test/agent/faults.test.ts',
  'test/agent/flood.test.ts',
  'test/installer/embedded-key.test.ts',
  'test/installer/decompress/bzip2/bzip2.test.ts',
  'test/installer/decompress/bzip2/threads.test.ts',
  'test/installer/disk/write.test.ts',
  'test/installer/main.test.ts',
  'test/installer/own-image.test.ts',
  'test/installer/verify.test.ts',
  'test/agent/transport/file/file.test.ts',
];

/**
 * Integration tests that need much processor time for what is our own code or the same on each
 * release of Debian: `test/run.ts --distribution` leaves them out. The programs of the machine that
 * they use, cheaper ones use too: device, multipath, target and saved-partitions those for disks,
 * container-runtime and containerd the engines.
 */
export const ownCode: readonly string[] = [
  // Kills and floods at many moments.
  'test/agent/kill-anywhere.test.ts',
  'test/agent/faults.test.ts',
  'test/agent/flood.test.ts',
  'test/agent/journal.test.ts',
  'test/agent/main.test.ts',
  'test/agent/containerd-and-nats.test.ts',
  'test/agent/outage.test.ts',
  'test/agent/runtime/flood.test.ts',
  'test/agent/runtime/adoption.test.ts',
  'test/agent/transport/file/file.test.ts',
  'test/installer/interrupt.test.ts',
  'test/torture/installer.test.ts',
  'test/torture/agent-faults.test.ts',
  'test/agent/log/many-secrets.test.ts',
  'test/agent/transport/nats/hostile-server.test.ts',
  'test/fuzz/faults.test.ts',
  // The same programs as in those that stay.
  'test/agent/registries.test.ts',
  'test/agent/runtime/log-drivers.test.ts',
  'test/agent/runtime/restart.test.ts',
  'test/installer/dry-run.test.ts',
  'test/installer/environment.test.ts',
  'test/installer/preflight.test.ts',
  'test/installer/rollback.test.ts',
  'test/installer/site.test.ts',
  // Registries of our own, name servers, message servers.
  'test/agent/runtime/containerd/image/pull.test.ts',
  'test/registry/repository.test.ts',
  'test/agent/runtime/docker/podman.test.ts',
  'test/agent/runtime/hostname.test.ts',
  'test/agent/runtime/pull-failures.test.ts',
  'test/agent/transport/nats/nats.test.ts',
  // Decoders, whole images and installations.
  'test/e2e/seed-image.test.ts',
  'test/installer/configure/ignition/install.test.ts',
  'test/installer/configure/ignition/ignition-validate.test.ts',
  'test/installer/decompress/bzip2/bzip2.test.ts',
  'test/installer/decompress/bzip2/threads.test.ts',
  'test/installer/decompress/decompress.test.ts',
  'test/installer/decompress/bzip2/floods.test.ts',
  'test/installer/decompress/refusals.test.ts',
  'test/installer/disk/image-file.test.ts',
  'test/installer/qcow2/hostile.test.ts',
  'test/installer/disk/read-back.test.ts',
  'test/installer/disk/write.test.ts',
  'test/installer/embedded-key.test.ts',
  'test/installer/install.test.ts',
  'test/installer/main.test.ts',
  'test/installer/gpg-keys.test.ts',
  'test/installer/image2disk/image2disk.test.ts',
  'test/installer/image2disk/registry.test.ts',
  'test/installer/own-image.test.ts',
  'test/installer/qcow2/qcow2.test.ts',
  'test/installer/terminal.test.ts',
  'test/installer/verify.test.ts',
  // Text of the repository, servers of our own, Node alone.
  'test/fuzz/fuzz.test.ts',
  'test/agent/canary.test.ts',
  'test/agent/doctor/doctor.test.ts',
  'test/agent/report/report.test.ts',
  'test/agent/runtime/containerd/spec/oci-spec.test.ts',
  'test/agent/runtime/images.test.ts',
  'test/agent/runtime/requests.test.ts',
  'test/agent/template/engine/engine.test.ts',
  'test/agent/transport/grpc/channel.test.ts',
  'test/agent/transport/grpc/workflow-data.test.ts',
  'test/architecture/clock.test.ts',
  'test/architecture/cycles.test.ts',
  'test/architecture/error-names.test.ts',
  'test/bench/go-agents.test.ts',
  'test/docs/architecture.test.ts',
  'test/docs/commands.test.ts',
  'test/docs/comments.test.ts',
  'test/docs/documents.test.ts',
  'test/docs/invariants.test.ts',
  'test/docs/many-machines.test.ts',
  'test/docs/operating.test.ts',
  'test/docs/support.test.ts',
  'test/docs/tinkerbell.test.ts',
  'test/docs/troubleshooting.test.ts',
  'test/docs/words.test.ts',
  'test/installer/decompress/esbuild-plugin.test.ts',
  'test/installer/messages.test.ts',
  'test/proto/generate.test.ts',
  'test/run.test.ts',
  'test/sandbox/os-image/read-config.test.ts',
  'test/sandbox/tink-server/server.test.ts',
  'test/sandbox/virtual-clock.test.ts',
  'test/sandbox/workflows/seed/commands.test.ts',
  // Made from locked packages: the same bytes wherever it was built, which .ci/run compares.
  'test/agent/syslog/receivers.test.ts',
  'test/initramfs/agent-image.test.ts',
  'test/initramfs/boot-media/iso.test.ts',
  'test/initramfs/boot-media/netboot.test.ts',
  'test/initramfs/boot-media/uki.test.ts',
  'test/initramfs/additions/additions.test.ts',
  'test/initramfs/clock.test.ts',
  'test/initramfs/early-init.test.ts',
  'test/initramfs/libraries.test.ts',
  'test/initramfs/modules.test.ts',
  'test/initramfs/scripts.test.ts',
  'test/initramfs/squashfs.test.ts',
  'test/release/boot-artifact.test.ts',
  'test/release/release.test.ts',
  'test/executable/alone.test.ts',
  'test/executable/cross-build.test.ts',
  'test/templates/templates.test.ts',
  'test/executable/elf/link-library.test.ts',
];

/**
 * What starts programs imports one of these; esbuild, node-disk-info and systeminformation start
 * some themselves.
 */
const programStarters = ['execa', 'node:child_process', 'esbuild', 'node-disk-info', 'systeminformation'];

/** What needs the boot image imports one of these. */
const needImages = ['test/sandbox/machine.ts', 'test/initramfs/built-image.ts'];

/** Of what `make build` makes. */
const readsExecutable = /nibs-linux-\$/;

const changesOwner = /^import \{[^}]*\bchown\b[^}]*\} from 'node:fs\/promises';$/m;

/** Node's arguments for unit tests: starting a program fails with ERR_ACCESS_DENIED. */
export const unitArguments = [
  ...['--permission', '--allow-fs-read=*', '--allow-fs-write=*', '--allow-worker', '--allow-wasi', '--allow-addons'],
  ...['PERM0001', 'PERM0005', 'PERM0006'].map((code) => `--disable-warning=${code}`), // that the model has gaps
];

/**
 * All test files, the long ones first, then by name.
 * @throws {Error} a file of the lists above does not exist
 */
export async function findTestFiles(): Promise<readonly TestFile[]> {
  const found = (await Array.fromAsync(glob('test/**/*.test.ts', { cwd: repository }))).sort();
  const missing = [...longFiles, ...ownCode].filter((path) => !found.includes(path));
  if (missing.length > 0) throw new Error(`test/files.ts names files that do not exist: ${missing.join(', ')}`);
  return await classify([...longFiles, ...found.filter((path) => !longFiles.includes(path))]);
}

/** @param paths of test files, relative to the repository */
export async function classify(paths: readonly string[]): Promise<readonly TestFile[]> {
  const { metafile } = await build({
    ...{ entryPoints: [...paths], absWorkingDir: repository, bundle: true, metafile: true, write: false },
    ...{ outdir: 'build', outbase: '.', platform: 'node', format: 'esm', packages: 'external', logLevel: 'error' },
  });
  const startsPrograms = (path: string) =>
    metafile.inputs[path]?.imports.some((one) => programStarters.includes(one.path)) === true;
  const needsMore = new Set<string>();
  for (const path of Object.keys(metafile.inputs)) {
    if (!path.startsWith('test/')) continue;
    const text = await readFile(join(repository, path), 'utf8');
    if (changesOwner.test(text) || readsExecutable.test(text)) needsMore.add(path);
  }
  const loaded = new Map(
    Object.values(metafile.outputs).map(({ entryPoint, inputs }) => [entryPoint, Object.keys(inputs)]),
  );
  return paths.map((path) => {
    const files = loaded.get(path) ?? [];
    if (needImages.some((one) => files.includes(one))) return { path, layer: 'machine' };
    return { path, layer: files.some((file) => startsPrograms(file) || needsMore.has(file)) ? 'integration' : 'unit' };
  });
}

if (import.meta.main) {
  const files = await classify(process.argv.slice(2).map((path) => relative(repository, resolve(path))));
  for (const { layer } of files) process.stdout.write(`${layer}\n`);
}
