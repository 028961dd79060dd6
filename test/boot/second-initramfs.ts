import { mkdir, mkdtempDisposable, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { architectureOf } from '../../debian/architecture.ts';
import { packAdditions, readAdditions } from '../../initramfs/additions/additions.ts';
import type { AdditionOptions } from '../../initramfs/additions/options.ts';
import { fetchSystem } from '../../initramfs/system.ts';
import { busyboxImage } from '../sandbox/busybox-image.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';
import { dockerArchive } from '../sandbox/docker-archive.ts';

const cache = resolve(import.meta.dirname, '../../build/cache');

/** An image that no registry has. */
export const embeddedImage = '127.0.0.1/embedded/hello:1.0';

/** What the file says that the site adds. */
export const fileContent = 'added by the site';

/**
 * A second initramfs with a file (/etc/site-file), a certificate authority and an image.
 * @param directory takes what it is made of
 * @returns its path, and a line of the certificate
 */
export async function makeSecondInitramfs(directory: string): Promise<{ path: string; certificateLine: string }> {
  const at = (name: string) => join(directory, name);
  await mkdir(at('files/etc'), { recursive: true });
  await writeFile(at('files/etc/site-file'), `${fileContent}\n`);
  const { certificate } = await createCertificateAuthority();
  await writeFile(at('ca.pem'), certificate);
  await writeFile(at('hello.tar'), await dockerArchive('hello:1.0', await busyboxImage()));
  const path = await packSite(
    { files: [at('files')], certificates: [at('ca.pem')], images: [`${embeddedImage}=${at('hello.tar')}`] },
    directory,
  );
  return { path, certificateLine: certificate.split('\n')[1] ?? '' };
}

/**
 * A second initramfs with what a site adds.
 * @param directory takes it
 * @returns its path
 */
export async function packSite(additions: Partial<AdditionOptions>, directory: string): Promise<string> {
  const given = {
    ...{ files: [], certificates: [], images: [], packages: [], modules: [] },
    ...{ authorizedKeys: undefined, hasSshServer: false, ...additions },
  };
  const architecture = architectureOf('x86_64');
  const system = () => fetchSystem(cache, { architecture });
  // Beside the packages, because modules are hard links to theirs.
  await using scratch = await mkdtempDisposable(join(cache, 'site-'));
  const { tree } = await readAdditions(given, { architecture, system, cache, scratch: scratch.path });
  const path = join(directory, 'site-initramfs');
  await writeFile(path, await packAdditions(tree, 0));
  return path;
}
