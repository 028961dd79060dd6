import { mkdtempDisposable, readFile, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Architecture } from '../../debian/architecture.ts';
import { runTool } from '../../tools/run-tool.ts';
import { inRepository, type Source } from '../source.ts';
import type { DebianPackage, PackageFile } from './package.ts';

const files = import.meta.dirname;

/** Package → program → its manual page of section 8, or the program that has it. */
const programs: Readonly<Record<'flatcar-install' | 'tink-agent', Readonly<Record<string, string>>>> = {
  'flatcar-install': {
    'flatcar-install': 'installer/flatcar-install.8',
    image2disk: 'installer/image2disk/image2disk.8',
  },
  'tink-agent': { 'tink-agent': 'agent/tink-agent.8', 'tink-worker': 'tink-agent' },
};

/** Takes environment variables only. */
const withoutOptions: readonly string[] = ['image2disk'];

export interface PackagesOptions {
  readonly source: Source;
  readonly architecture: Architecture;
  /** Path of the executable. */
  readonly executable: string;
  /** Path of one that this machine can start: it prints the completions. */
  readonly ownExecutable: string;
  /** `name <address>` of the package's maintainer. */
  readonly maintainer: string;
}

/**
 * The Debian packages. The executable is one file with several names, so that one package has it
 * and the other needs that package.
 */
export async function debianPackages(options: PackagesOptions): Promise<readonly DebianPackage[]> {
  return [await installerPackage(options), await agentPackage(options)];
}

/** As Debian orders versions: 1.0.0~rc.1 is older than 1.0.0. */
export function debianVersion(version: string): string {
  return version.replaceAll('-', '~');
}

async function installerPackage(options: PackagesOptions): Promise<DebianPackage> {
  const name = 'flatcar-install';
  return {
    ...common(name, options),
    fields: {
      ...fields(options),
      Depends: 'libc6 (>= 2.28), libgcc-s1, mount',
      Recommends: 'btrfs-progs, efibootmgr, udev',
    },
    description: {
      synopsis: 'installer of Flatcar Container Linux and other disk images',
      text: [
        'Downloads, verifies and writes the image of an operating system in one pass,\nwith its Ignition config. The partition table is written last, after the\nsignature is verified. It takes the options of the script of this name.',
        'The executable contains Node.js and all other libraries but the C library.',
      ],
    },
    files: {
      'usr/lib/nibs/nibs': { copyOf: options.executable, mode: 0o755 },
      ...(await programFiles(name, options)),
      ...(await documents(name, options)),
    },
    conffiles: [],
    maintainerScripts: {},
  };
}

async function agentPackage(options: PackagesOptions): Promise<DebianPackage> {
  const name = 'tink-agent';
  const settings = 'etc/default/tink-agent';
  const text = (file: string) => readFile(join(files, name, file), 'utf8');
  return {
    ...common(name, options),
    fields: {
      ...fields(options),
      Depends: `flatcar-install (= ${debianVersion(options.source.version)})`,
      'Pre-Depends': 'init-system-helpers (>= 1.54~)',
      Recommends: 'docker.io | podman | containerd',
    },
    description: {
      synopsis: "worker agent of Tinkerbell, in place of tink-worker and Tinkerbell's own",
      text: [
        'Fetches workflows from a Tinkerbell server and runs their actions as\nprivileged containers. The service is installed disabled: it gives the server\ncontrol over the machine.',
      ],
    },
    files: {
      ...(await programFiles(name, options)),
      [settings]: { content: await text('default') },
      'usr/lib/systemd/system/tink-agent.service': { content: await text('tink-agent.service') },
      // Of the package that it needs in the same version.
      [`usr/share/doc/${name}`]: { linkTo: 'flatcar-install' },
    },
    conffiles: [settings],
    maintainerScripts: {
      postinst: await text('postinst'),
      prerm: await text('prerm'),
      postrm: await text('postrm'),
    },
  };
}

function common(name: string, { source, architecture }: PackagesOptions) {
  return {
    name,
    version: debianVersion(source.version),
    architecture: architecture.debian,
    timeSeconds: source.timeSeconds,
  };
}

function fields({ maintainer }: PackagesOptions): Record<string, string> {
  return { Source: 'nibs', Section: 'admin', Priority: 'optional', Maintainer: maintainer };
}

/** Names of the executable, their manual pages, and what completes their options. */
async function programFiles(
  name: keyof typeof programs,
  { ownExecutable }: PackagesOptions,
): Promise<Record<string, PackageFile>> {
  const found: Record<string, PackageFile> = {};
  const pages = Object.entries(programs[name]);
  for (const [program, page] of pages) {
    found[`usr/sbin/${program}`] = { linkTo: '../lib/nibs/nibs' };
    found[`usr/share/man/man8/${program}.8.gz`] = page.endsWith('.8')
      ? { compressed: await readFile(inRepository(page), 'utf8') }
      : { linkTo: `${page}.8.gz` };
  }
  const names = pages.map(([program]) => program).filter((program) => !withoutOptions.includes(program));
  return { ...found, ...(await completions(names, ownExecutable)) };
}

async function completions(names: readonly string[], executable: string): Promise<Record<string, PackageFile>> {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-completions-'));
  const found: [string, PackageFile][] = [];
  for (const name of names) {
    const program = join(scratch.path, name);
    await symlink(executable, program);
    for (const [shell, path] of [
      ['bash', `bash-completion/completions/${name}`],
      ['zsh', `zsh/vendor-completions/_${name}`],
      ['fish', `fish/vendor_completions.d/${name}.fish`],
    ] as const) {
      const { stdout } = await runTool(program, ['--completion', shell]);
      found.push([`usr/share/${path}`, { content: `${stdout}\n` }]);
    }
  }
  return Object.fromEntries(found);
}

async function documents(name: string, { source, maintainer }: PackagesOptions): Promise<Record<string, PackageFile>> {
  const date = new Date(source.timeSeconds * 1000).toUTCString().replace('GMT', '+0000');
  const changelog = `nibs (${debianVersion(source.version)}) unstable; urgency=medium

  * Release ${source.version}, commit ${source.commit}.
    CHANGELOG.md of the sources has the changes.

 -- ${maintainer}  ${date}
`;
  return {
    [`usr/share/doc/${name}/changelog.gz`]: { compressed: changelog },
    [`usr/share/doc/${name}/copyright`]: { copyOf: join(files, name, 'copyright') },
    [`usr/share/doc/${name}/node-notices.gz`]: { compressed: await nodeNotices() },
    [`usr/share/lintian/overrides/${name}`]: {
      content: await readFile(join(files, name, 'lintian-overrides'), 'utf8'),
    },
  };
}

/** What is compiled into Node, by whom, and under which terms. */
async function nodeNotices(): Promise<string> {
  const node = dirname(fileURLToPath(import.meta.resolve(`node-linux-${process.arch}/package.json`)));
  return await readFile(join(node, 'LICENSE'), 'utf8');
}
