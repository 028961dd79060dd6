import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { main } from '../../installer/main.ts';
import { partitionOffsetBytes } from '../sandbox/flatcar-layout.ts';

const mebibyte = 1024 * 1024;

/** What one run of the program said and did. */
export interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * Runs the program in this process, with a system that is not Flatcar around it. `-D` downloads to
 * `directory`.
 */
export async function runInstaller(directory: string, args: readonly string[]): Promise<Ran> {
  const [stdout, stderr]: [string[], string[]] = [[], []];
  const exitCode = await main(
    args,
    {},
    {
      root: join(directory, 'no-such-root'),
      workingDirectory: directory,
      stdout: { write: (text) => stdout.push(text) },
      stderr: { write: (text) => stderr.push(text) },
    },
  );
  return { exitCode, stdout: stdout.join(''), stderr: stderr.join('') };
}

/** Arguments of Node for the program. */
export const installerProgram = [join(import.meta.dirname, '../../executable/main.ts'), 'flatcar-install'];

/**
 * Runs the program in a process of its own, to be interrupted or to have another environment: what
 * is not in `env` is as it is here.
 */
export function startInstaller(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>> = {},
  cwd: string = process.cwd(),
) {
  return execa(process.execPath, [...installerProgram, ...args], { reject: false, env, cwd, stripFinalNewline: false });
}

/** Runs the built executable. */
export function runExecutable(args: readonly string[], cwd: string) {
  const program = join(import.meta.dirname, '../../build/flatcar-install');
  return execa(program, args, { reject: false, cwd, stripFinalNewline: false });
}

/** Reads a file of a disk's OEM partition (btrfs) without mounting it. */
export async function readOemFile(disk: { readonly path: string }, name: string): Promise<string> {
  const work = await mkdtemp(join(tmpdir(), 'nibs-oem-'));
  try {
    const skip = `skip=${partitionOffsetBytes('OEM') / mebibyte}`;
    await execa('dd', [`if=${disk.path}`, `of=${work}/oem`, 'bs=1M', skip, 'count=128', 'conv=sparse', 'status=none']);
    await execa('btrfs', ['restore', '--metadata', `${work}/oem`, work]);
    return await readFile(join(work, name), 'utf8');
  } finally {
    await rm(work, { recursive: true });
  }
}

/** Reads a file of a disk's ROOT partition (ext4) without mounting it. */
export async function readRootFile(disk: { readonly path: string }, path: string): Promise<string> {
  const offset = partitionOffsetBytes('ROOT');
  const { stdout } = await execa('debugfs', ['-R', `cat ${path}`, `${disk.path}?offset=${offset}`], {
    stripFinalNewline: false,
  });
  return stdout;
}
