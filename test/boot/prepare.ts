import { cp, mkdir, open, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type BootImage, findBootImage } from '../../initramfs/boot-media/boot-image.ts';
import { fetchBootLoaders } from '../../initramfs/boot-media/boot-loaders.ts';
import { writeEfiPartition } from '../../initramfs/boot-media/efi-partition.ts';
import { fetchMediaTools } from '../../initramfs/boot-media/media-tools.ts';
import { sign } from '../../initramfs/boot-media/sign.ts';
import { makeUki } from '../../initramfs/boot-media/uki.ts';
import { runTool } from '../../tools/run-tool.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';
import type { MachineDisk, MachineOptions } from '../sandbox/machine.ts';
import { serveAsSmee } from '../sandbox/smee-iso.ts';
import type { Row } from './rows.ts';
import { embeddedImage, fileContent, makeSecondInitramfs } from './second-initramfs.ts';
import { machineArguments, machineMac, type ServedFiles, type SiteAction, siteAddress } from './site.ts';

const build = resolve(import.meta.dirname, '../../build');
const cache = join(build, 'cache');

/** The firmware tries PXE before HTTP: a server without the file ends that at once. */
const noFile = 'none';

/** What a row needs: how the machine starts, and what it loads. */
export interface Prepared {
  readonly machine: Pick<MachineOptions, 'boot'> & { readonly disks: readonly MachineDisk[] };
  readonly served: ServedFiles;
  /** What the machine runs. Default: nothing. */
  readonly action?: SiteAction;
}

/**
 * Makes the media of a row in an empty directory, and says what the servers need.
 * @throws {Error} the boot image or a medium has not been built
 */
export async function prepare(row: Row, directory: string): Promise<Prepared> {
  const fromNetwork = { boot: { kind: 'firmware', order: ['network'] }, disks: [] } as const;
  const fromDisk = (disk: MachineDisk) =>
    ({ machine: { boot: { kind: 'firmware', order: ['disks'] }, disks: [disk] }, served: { http: {} } }) as const;
  const image = await findBootImage(build, row.architecture);
  switch (row.way) {
    case 'kernel': {
      const { kernel, initramfs } = image;
      return {
        machine: { boot: { kind: 'kernel', kernel, initramfs, commandLine: machineArguments }, disks: [] },
        served: { http: {} },
      };
    }
    case 'ipxe': {
      const script = serverScript(row);
      if (script !== undefined) return { machine: fromNetwork, served: await serveForScript(script, image, directory) };
      const names = ['vmlinuz', 'initramfs'].map((name) => `/${name}-${row.architecture}`);
      const [kernel = '', initramfs = ''] = names;
      const url = `http://${siteAddress}`;
      const http = { [kernel]: image.kernel, [initramfs]: image.initramfs };
      // With UEFI the kernel loads the files that these arguments name, from iPXE.
      const named = ['initramfs-x86_64', ...(row.hasSecondInitramfs === true ? ['site-initramfs'] : [])];
      const initrds = named.map((name) => `initrd=${name}`).join(' ');
      const lines = [`kernel ${url}${kernel} ${machineArguments} ${initrds}`, `initrd ${url}${initramfs}`];
      if (row.hasSecondInitramfs !== true) {
        return { machine: fromNetwork, served: { http, ipxeScript: [...lines, 'boot'].join('\n') } };
      }
      const second = await makeSecondInitramfs(directory);
      const ipxeScript = [...lines, `initrd ${url}/site-initramfs`, 'boot'].join('\n');
      return {
        machine: fromNetwork,
        served: { http: { ...http, '/site-initramfs': second.path }, ipxeScript },
        action: {
          image: embeddedImage,
          volumes: ['/etc/site-file:/site-file', '/etc/ssl/certs/ca-certificates.crt:/ca.crt'],
          command: ['sh', '-ec', `grep '${fileContent}' /site-file; grep -F '${second.certificateLine}' /ca.crt`],
        },
      };
    }
    case 'ipxe-uki': {
      const uki = await writeUki(row, image, directory, 'console=ttyS0');
      const ipxeScript = `chain http://${siteAddress}/nibs.efi ${machineArguments}`;
      return { machine: fromNetwork, served: { http: { '/nibs.efi': uki }, ipxeScript } };
    }
    case 'http-uki': {
      const uki = await writeUki(row, image, directory, machineArguments);
      const httpBootUrl = `http://${siteAddress}/nibs.efi`;
      return {
        machine: fromNetwork,
        served: { http: { '/nibs.efi': uki }, httpBootUrl, uefiFile: noFile },
      };
    }
    case 'disk-uki': {
      const uki = await writeUki(row, image, directory, machineArguments);
      const path = join(directory, 'esp.img');
      const files = [{ path: 'EFI/BOOT/BOOTX64.EFI', content: await readFile(uki) }];
      const scratch = join(directory, 'esp');
      await writeEfiPartition(files, path, scratch, image.timeSeconds, await fetchMediaTools(cache));
      await rm(scratch, { recursive: true });
      return fromDisk({ path, bus: 'virtio' });
    }
    case 'iso-cd':
    case 'iso-usb': {
      const path = join(directory, 'nibs.iso');
      const iso = await readFile(join(build, `nibs-${row.architecture}.iso`));
      await writeFile(path, serveAsSmee(iso, machineArguments, 2048));
      return fromDisk({ path, bus: row.way === 'iso-cd' ? 'cd' : 'usb' });
    }
    case 'shim':
    case 'http-shim': {
      const files = await copyNetboot(row, directory);
      if (row.way === 'shim') {
        // By TFTP the loaders and the configuration, by HTTP what is large.
        await writeMachineConfig(join(files, 'pxelinux.cfg'), '01-', `set boot_files=(http,${siteAddress})\n`);
        return { machine: fromNetwork, served: { http: { '/': files }, tftpFiles: files, uefiFile: 'shimx64.efi' } };
      }
      await writeMachineConfig(join(files, 'grub'), 'grub.cfg-01-', '');
      const httpBootUrl = `http://${siteAddress}/shimx64.efi`;
      return { machine: fromNetwork, served: { http: { '/': files }, httpBootUrl, uefiFile: noFile } };
    }
  }
}

/** The file with the script of a server that the machine starts by, if it is one's. */
export function serverScript({ way, script }: Row): string | undefined {
  const given = process.env['IPXE_SCRIPT'] ?? '';
  if (way === 'ipxe' && given !== '') return given;
  return script === undefined ? undefined : join(import.meta.dirname, 'scripts', `${script}.ipxe`);
}

/**
 * What a server at the site's address serves that has rendered a script, boots of v0.1.0 or smee,
 * and the options by which its DHCP leads to that. IPXE_FILES names a directory with the iPXE that
 * Tinkerbell brings; default: Debian's.
 */
async function serveForScript(path: string, { kernel, initramfs }: BootImage, directory: string): Promise<ServedFiles> {
  const script = await readFile(path, 'utf8');
  const isBoots = script.includes('grpc_cert_url=');
  const folder = isBoots ? '/misc/osie/current' : '';
  const authority = join(directory, 'ca.pem');
  await writeFile(authority, (await createCertificateAuthority()).certificate);
  const ipxeFiles = process.env['IPXE_FILES'] ?? '';
  return {
    http: {
      [`${folder}/vmlinuz-x86_64`]: kernel,
      [`${folder}/initramfs-x86_64`]: initramfs,
      // Boots' script tells its server that the machine has started, by a request for this.
      ...(isBoots ? { '/phone-home': path, '/workflow/ca.pem': authority } : {}),
    },
    ipxeScript: (ipxeFiles === '' ? withoutParameters(script) : script).replace(/^#!ipxe\n/, ''),
    tinkDialect: isBoots ? 'v0.1' : 'current',
    optionsAs: isBoots ? 'boots' : 'smee',
    ...(ipxeFiles === '' ? {} : { ipxeFiles }),
  };
}

/** Debian's iPXE is built without `params`: the request has no body then. */
function withoutParameters(script: string): string {
  return script.replace(/^params?( .*)?\n/gm, '').replace('##params', '');
}

async function writeUki(row: Row, image: BootImage, directory: string, builtIn: string): Promise<string> {
  const { uefiStub } = await fetchBootLoaders(cache, 'amd64');
  const unsigned = join(directory, 'unsigned.efi');
  await writeFile(unsigned, await makeUki(image, builtIn, uefiStub));
  if (row.enrolledKeys !== 'snakeoil' || row.change === 'no signature') return unsigned;
  // The key of Debian's package ovmf has a passphrase, which is public, too.
  const key = join(directory, 'snakeoil.key');
  const encrypted = '/usr/share/ovmf/PkKek-1-snakeoil.key';
  await runTool('openssl', ['pkcs8', '-in', encrypted, '-passin', 'pass:snakeoil', '-out', key]);
  const signed = join(directory, 'signed.efi');
  const signingKey = { key, certificate: '/usr/share/ovmf/PkKek-1-snakeoil.pem' };
  await sign(unsigned, signed, signingKey, await fetchMediaTools(cache));
  await rm(unsigned);
  return signed;
}

/** The directory of `make netboot`, with a changed kernel if the row says so. */
async function copyNetboot(row: Row, directory: string): Promise<string> {
  const files = join(directory, 'netboot');
  await cp(join(build, 'netboot'), files, { recursive: true });
  if (row.change !== 'kernel') return files;
  const kernel = join(files, `vmlinuz-${row.architecture}`);
  const middle = Math.floor((await readFile(kernel)).length / 2);
  await using file = await open(kernel, 'r+');
  await file.write(Buffer.from('changed'), 0, 7, middle);
  return files;
}

/** The file of this machine, which GRUB reads. */
async function writeMachineConfig(directory: string, prefix: string, more: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  const path = join(directory, `${prefix}${machineMac.replaceAll(':', '-')}`);
  await writeFile(path, `set kernel_arguments='${machineArguments}'\n${more}`);
}

/** An empty disk for the machine. */
export async function makeEmptyDisk(directory: string, bus: NonNullable<MachineDisk['bus']>): Promise<MachineDisk> {
  const path = join(directory, 'empty.img');
  await writeFile(path, '');
  await truncate(path, 64 * 1024 * 1024);
  return { path, bus };
}
