import { chmod, mkdir, readFile, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { execa } from 'execa';
import { startBootServer } from '../boot-server.ts';
import { internetAddress } from '../network.ts';
import { readOciArchive } from '../oci-archive.ts';
import { readOemFile } from '../oem-file.ts';
import { registryArguments } from './registry-arguments.ts';
import { typeCommands } from './seed/type-commands.ts';
import type { SandboxWorkflow } from './workflow.ts';

/** What the server of the releases has. */
export interface SeedRelease {
  /** Directory with `current/version.txt` and `<version>/…`. */
  readonly directory: string;
  /** Public key that the image is signed with. */
  readonly signingKey: string;
}

/** Where the installer looks when a command names no mirror. */
const releaseServer = 'stable.release.flatcar-linux.net';

/**
 * The blog post "Provisioning Flatcar Container Linux with Tinkerbell" word for word: its commands
 * (seed/commands.sh) are typed into a shell of the provisioner, so that key, Ignition config,
 * hardware and template are what they make. Two actions, no `-b`, no `-k`; a person switches the
 * machine off and on at the end.
 *
 * In place of the Internet, the sandbox's DNS sends the name of the release server to a server with
 * a certificate by the sandbox's authority. In place of the Dockerfile, which cannot be built
 * without the Internet, `make images CA=… KEY=…` makes the image of the actions.
 */
export function seedWorkflow(release?: SeedRelease): SandboxWorkflow {
  return {
    actions: ['dump-ignition', 'flatcar-install'],
    dialects: ['v0.1'],
    restartedBy: 'person',
    async create({ root, directory, address, authority, registry, tink, started }) {
      const built = join(root, 'build/os-image');
      const { directory: files, signingKey } = release ?? {
        directory: join(built, 'mirror'),
        signingKey: join(built, 'signing-key.asc'),
      };
      const archive = await makeSiteImage(root, directory, authority.certificate, signingKey);
      await registry.push('flatcar-install', await readOciArchive(archive));
      const tls = await authority.issue([releaseServer]);
      const paths = { '/amd64-usr/': files };
      started.use(await startBootServer({ address: internetAddress, port: 443, files: paths, texts: {}, tls }));

      const provisioner = join(directory, 'provisioner');
      const home = join(provisioner, 'vagrant');
      const programs = await makePrograms(provisioner, tink);
      const id = await typeCommands({ directory: provisioner, home, programs });
      return {
        id,
        loginKeyPath: join(home, '.ssh/id_rsa'),
        files: {},
        names: { [releaseServer]: internetAddress },
        kernelArguments: registryArguments(address, registry),
        checkDisk: async (disk) => checkConfig(disk, join(provisioner, 'flatcar-template.yaml.tmpl')),
      };
    },
  };
}

/**
 * What `make images` runs, with what a site has of its own.
 * @returns the path of the archive
 */
async function makeSiteImage(root: string, directory: string, ca: string, signingKey: string): Promise<string> {
  const [archive, authority] = [join(directory, 'flatcar-install.oci.tar'), join(directory, 'authority.pem')];
  await writeFile(authority, ca);
  const script = join(root, 'initramfs/action-image.ts');
  await execa(process.execPath, [script, '--output', archive, '--ca', authority, '--key', signingKey]);
  return archive;
}

/**
 * The provisioner has `docker` with a container for `tink`.
 * @returns a directory for PATH
 */
export async function makePrograms(
  directory: string,
  tink: { readonly authority: string; readonly certificateUrl: string },
): Promise<string> {
  const docker = join(directory, 'bin/docker');
  await mkdir(dirname(docker), { recursive: true });
  const cli = join(import.meta.dirname, '../tink-server/cli.ts');
  await writeFile(
    docker,
    `#!/bin/sh
# Instead of "docker exec -i deploy_tink-cli_1 tink": the sandbox has no containers for it.
[ "$1 $2 $3 $4" = "exec -i deploy_tink-cli_1 tink" ] || { echo "docker $*: not in this sandbox" >&2; exit 1; }
shift 4
export TINKERBELL_GRPC_AUTHORITY=${tink.authority} TINKERBELL_CERT_URL=${tink.certificateUrl}
exec ${process.execPath} ${cli} "$@"
`,
  );
  await chmod(docker, 0o755);
  return dirname(docker);
}

/** The config in the template is what the post's commands have made of the key. */
async function checkConfig(disk: string, template: string): Promise<void> {
  const [, encoded = ''] = /echo '([A-Za-z0-9+/=]+)' \| base64 -d/.exec(await readFile(template, 'utf8')) ?? [];
  const expected = Buffer.from(encoded, 'base64');
  const found = await readOemFile(disk, 'config.ign');
  if (expected.length > 0 && expected.equals(found)) return;
  throw new Error(`config.ign on the OEM partition is not the config of ${template}:\n${found}`);
}
