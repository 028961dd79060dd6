import { mkdtempDisposable, readFile, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { architectures, hostArchitecture } from '../../debian/architecture.ts';
import { OperationError } from '../../errors/operation-error.ts';
import { runTool } from '../../tools/run-tool.ts';
import { debianVersion } from '../debian/packages.ts';
import { verifyBootArtifact } from './boot-artifact.ts';
import { readImageIndex } from './image-index.ts';

/** What a product must say of itself. */
export interface Expected {
  readonly version: string;
  /** As `--version` shows it. */
  readonly commit: string;
  /** File of the release → SHA-256 in hexadecimal. */
  readonly checksums: ReadonlyMap<string, string>;
}

/**
 * Checks a product by its kind.
 * @returns what was found, for a person
 * @throws {OperationError} it is not what its name says
 */
export async function verifyProduct(path: string, expected: Expected): Promise<string> {
  const name = basename(path);
  if (name.startsWith('nibs-linux-')) return await verifyExecutable(path, expected);
  if (name.endsWith('.oci.tar')) return await verifyImage(path, expected);
  if (name.endsWith('.deb')) return await verifyPackage(path, expected);
  return await verifySignatureBytes(path);
}

function refuse(path: string, why: string): OperationError {
  return new OperationError({ what: 'verify', target: basename(path), why });
}

/** Of another architecture than this machine's the bytes are searched: it cannot be started. */
async function verifyExecutable(path: string, { version, commit }: Expected): Promise<string> {
  const architecture = architectures.find(({ node }) => path.endsWith(`-${node}`));
  if (architecture !== hostArchitecture) {
    const content = await readFile(path);
    for (const text of [version, commit])
      if (!content.includes(JSON.stringify(text))) throw refuse(path, `it does not contain ${text}`);
    return `contains version ${version}, commit ${commit}`;
  }
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-programs-'));
  for (const program of ['tink-agent', 'tink-worker', 'flatcar-install', 'image2disk']) {
    const link = join(scratch.path, program);
    await symlink(path, link);
    const { stdout } = await runTool(link, ['--version']);
    const wanted = `${program} (nibs) ${version}, commit ${commit}, Node v`;
    if (!stdout.startsWith(wanted)) throw refuse(path, `${program} --version is '${stdout}', not '${wanted}…'`);
  }
  return `--version says ${version}, commit ${commit}`;
}

async function verifyImage(path: string, { version, checksums }: Expected): Promise<string> {
  const isBootImage = basename(path) === 'nibs-boot-image.oci.tar';
  const index = isBootImage ? await verifyBootArtifact(path, checksums) : await readImageIndex(path);
  const platforms = [...index.platforms].sort().join(' ');
  if (platforms !== 'linux/amd64 linux/arm64') throw refuse(path, `its platforms are ${platforms}`);
  if (index.version !== version) throw refuse(path, `its version is ${index.version}, not ${version}`);
  return `${index.digest} for ${platforms}`;
}

/** What users call and read. */
const inPackages: Readonly<Record<string, readonly string[]>> = {
  'flatcar-install': [
    'usr/sbin/flatcar-install -> ../lib/nibs/nibs',
    'usr/sbin/image2disk -> ../lib/nibs/nibs',
    'usr/share/man/man8/image2disk.8.gz',
    'usr/lib/nibs/nibs',
    'usr/share/man/man8/flatcar-install.8.gz',
    'usr/share/bash-completion/completions/flatcar-install',
    'usr/share/zsh/vendor-completions/_flatcar-install',
    'usr/share/fish/vendor_completions.d/flatcar-install.fish',
    'usr/share/doc/flatcar-install/copyright',
  ],
  'tink-agent': [
    'usr/sbin/tink-agent -> ../lib/nibs/nibs',
    'usr/lib/systemd/system/tink-agent.service',
    'usr/share/man/man8/tink-agent.8.gz',
    'usr/share/bash-completion/completions/tink-agent',
    'usr/share/zsh/vendor-completions/_tink-agent',
    'usr/share/fish/vendor_completions.d/tink-agent.fish',
    'etc/default/tink-agent',
  ],
};

async function verifyPackage(path: string, { version }: Expected): Promise<string> {
  const [name = '', , architecture] = basename(path, '.deb').split('_');
  const fields = await runTool('dpkg-deb', ['--field', path, 'Package', 'Version', 'Architecture']);
  const wanted = [`Package: ${name}`, `Version: ${debianVersion(version)}`, `Architecture: ${architecture}`].join('\n');
  if (fields.stdout !== wanted) throw refuse(path, `its fields are '${fields.stdout}', not '${wanted}'`);
  const { stdout } = await runTool('dpkg-deb', ['--contents', path]);
  const lines = stdout.split('\n');
  for (const file of inPackages[name] ?? [])
    if (!lines.some((line) => line.endsWith(` ./${file}`))) throw refuse(path, `it does not have ${file}`);
  const foreign = lines.find((line) => !/^\S+ root\/root /.test(line));
  if (foreign !== undefined) throw refuse(path, `not all of its files are root's: ${foreign}`);
  return `${lines.length} files and directories`;
}

/** First bytes of files that firmware or a boot loader reads. */
const magics: readonly [name: RegExp, offset: number, bytes: string, kind: string][] = [
  [/^vmlinuz-/, 0, 'MZ', 'kernel with an EFI stub'],
  [/^initramfs-/, 0, '070701', 'cpio archive'],
  [/\.efi$/, 0, 'MZ', 'EFI program'],
  [/\.iso$/, 32_769, 'CD001', 'ISO 9660 image'],
];

async function verifySignatureBytes(path: string): Promise<string> {
  const magic = magics.find(([name]) => name.test(basename(path)));
  if (magic === undefined) throw refuse(path, 'no release has a file of this kind');
  const [, offset, bytes, kind] = magic;
  const content = await readFile(path);
  if (!content.subarray(offset).toString('latin1', 0, bytes.length).startsWith(bytes))
    throw refuse(path, `it is no ${kind}`);
  return kind;
}
