import { createReadStream, createWriteStream } from 'node:fs';
import { appendFile, mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import { harmlessMount, makeMountDirectory } from '../../tools/mount-directory.ts';
import { runTool } from '../../tools/run-tool.ts';
import { runCommand } from './run-command.ts';

/** A step of starting another kernel in place of the running one failed. */
class KexecError extends OperationError {
  override readonly name = 'KexecError';
}

/** Location of the next kernel. */
export interface KexecKernel {
  /**
   * Holds the file system with the kernel: a device, or LABEL= or UUID= as mount takes them.
   * Default: the paths are of the running system.
   */
  readonly device: string | undefined;
  /** Type of that file system. Default: detected by the kernel. */
  readonly filesystem: string | undefined;
  /** Path of the kernel within the file system. */
  readonly kernel: string;
  /**
   * Paths of the initial RAM file systems within the file system. The kernel unpacks them in this
   * order. Empty: it has none.
   */
  readonly initrds: readonly string[];
  /** Default: empty. */
  readonly commandLine: string | undefined;
}

export interface KexecOptions {
  /** The program of kexec-tools. */
  readonly command: string;
  /** What to load; `undefined`: only what an action has loaded is started. */
  readonly kernel: KexecKernel | undefined;
  /**
   * Reads `1` when a kernel is loaded (kernel document ABI/testing/sysfs-kernel). Default
   * `/sys/kernel/kexec_loaded`.
   */
  readonly loadedFile?: string | undefined;
  /**
   * Names the lockdown mode of the kernel in brackets, as `none [integrity] confidentiality`
   * (kernel_lockdown(7)). Default `/sys/kernel/security/lockdown`.
   */
  readonly lockdownFile?: string | undefined;
}

/**
 * Loads the configured kernel, from its device, which is mounted read-only for that time. A kernel
 * that an action has loaded (`kexec -l`) is kept instead.
 *
 * @throws {KexecError} nothing is loaded and nothing configured, or it cannot be loaded; the reason
 *   of `signal` when that is aborted
 */
export async function loadKernel(options: KexecOptions, signal: AbortSignal): Promise<void> {
  if (await isLoaded(options.loadedFile)) return;
  const { kernel } = options;
  if (kernel === undefined)
    throw new KexecError({
      what: 'start',
      target: 'another kernel',
      why: 'no action has loaded one (kexec -l), and none is configured',
      hint: 'configure one with --kexec-kernel',
    });
  if (kernel.device === undefined) return await load(kernel, '/', options, signal);
  const place = await makeMountDirectory('nibs-kexec');
  try {
    await mount(kernel.device, kernel.filesystem, place.path, signal);
    try {
      await load(kernel, place.path, options, signal);
    } finally {
      // The loaded kernel is in memory. A device that stays busy does not keep it from starting.
      await runTool('umount', [place.path]).catch(() => {});
    }
  } finally {
    await place[Symbol.asyncDispose]().catch(() => {});
  }
}

/**
 * Writes dirty pages back and starts the loaded kernel at once, without ending processes. Returns
 * only on failure.
 *
 * @returns why the kernel was not started; `undefined` if the program reported success
 */
export async function startKernel({ command }: KexecOptions, signal: AbortSignal): Promise<string | undefined> {
  await writeDirtyPages();
  return await runCommand(command, ['--exec'], signal);
}

/**
 * Writes dirty pages to the disks. Takes at most a minute, also with a disk that does not answer.
 */
export async function writeDirtyPages(): Promise<void> {
  await runTool('sync', [], { timeoutSeconds: 60 }).catch(() => {});
}

async function isLoaded(file = '/sys/kernel/kexec_loaded'): Promise<boolean> {
  // A kernel without kexec does not have the file.
  return (await readFile(file, 'utf8').catch(() => '')).trim() === '1';
}

async function mount(device: string, filesystem: string | undefined, directory: string, signal: AbortSignal) {
  const type = filesystem === undefined ? [] : ['-t', filesystem];
  const failure = await runCommand(
    'mount',
    [...type, '-o', ['ro', ...harmlessMount].join(','), device, directory],
    signal,
  );
  if (failure !== undefined) throw new KexecError({ what: 'mount', target: device, why: failure });
}

async function load(kernel: KexecKernel, root: string, options: KexecOptions, signal: AbortSignal): Promise<void> {
  const [first, ...others] = kernel.initrds.map((path) => join(root, path));
  if (first === undefined || others.length === 0) return await loadWithInitrd(kernel, root, first, options, signal);
  const directory = await mkdtemp(join(tmpdir(), 'nibs-initrd-'));
  try {
    const joined = join(directory, 'initrd');
    await joinInitrds([first, ...others], joined);
    await loadWithInitrd(kernel, root, joined, options, signal);
  } finally {
    // The loaded initrd is in memory.
    await rm(directory, { recursive: true, force: true });
  }
}

/**
 * Writes one file after the other, as boot loaders do: kexec takes one. Each begins at a multiple
 * of four bytes (kernel document driver-api/early-userspace/buffer-format).
 * @throws {KexecError} one of them cannot be read
 */
async function joinInitrds(paths: readonly string[], joined: string): Promise<void> {
  for (const path of paths) {
    try {
      await pipeline(createReadStream(path), createWriteStream(joined, { flags: 'a' }));
    } catch (cause) {
      throw new KexecError({ what: 'read', target: `the initrd ${path}`, why: reasonOf(cause), cause });
    }
    await appendFile(joined, Buffer.alloc(-(await stat(joined)).size & 3));
  }
}

async function loadWithInitrd(
  { kernel, commandLine }: KexecKernel,
  root: string,
  initrd: string | undefined,
  { command, lockdownFile }: KexecOptions,
  signal: AbortSignal,
): Promise<void> {
  const parameters = [
    // By file where the kernel can do that: under lockdown it is the only way.
    ...['--load', join(root, kernel), '--kexec-syscall-auto'],
    ...(initrd === undefined ? [] : [`--initrd=${initrd}`]),
    `--command-line=${commandLine ?? ''}`,
  ];
  const failure = await runCommand(command, parameters, signal);
  if (failure === undefined) return;
  const hint = (await isLockedDown(lockdownFile))
    ? 'the running kernel is locked down, as with Secure Boot: it loads only kernels that are signed with a key that it has'
    : undefined;
  throw new KexecError({ what: 'load the kernel', target: kernel, why: failure, hint });
}

async function isLockedDown(file = '/sys/kernel/security/lockdown'): Promise<boolean> {
  // A kernel without lockdown does not have the file.
  return /\[(?!none\])/.test(await readFile(file, 'utf8').catch(() => ''));
}
