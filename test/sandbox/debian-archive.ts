import { createHash } from 'node:crypto';
import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Archive } from '../../debian/archive.ts';
import { startMirror } from './mirror.ts';
import { createGpg } from './signing.ts';

/**
 * A package of an {@link TestArchive}: its name, version and dependencies, as in a control file.
 */
export interface TestPackage {
  readonly name: string;
  readonly version: string;
  readonly depends?: string;
}

/**
 * An archive of Debian packages on loopback, with lists that a key of its own signs: apt reads and
 * verifies it as Debian's. It has one release, trixie, of amd64 without other suites, signatures
 * are in files of their own (Release.gpg), and the package files have no content that dpkg could
 * unpack.
 */
export interface TestArchive extends AsyncDisposable {
  readonly archive: Archive;
  /** An empty directory for package files and lists, of this archive alone. */
  readonly cache: string;
  /** URL of the mirror. */
  readonly url: string;
  /** Replaces the packages and signs the lists. */
  publish(packages: readonly TestPackage[]): Promise<void>;
  /** Replaces the package file by one with another content of the same size. */
  tamperWithPackage(name: string): void;
  /** Changes the package lists without signing them anew. */
  tamperWithLists(): void;
  /** Signs the lists with a key that the archive does not have. */
  signWithAnotherKey(): Promise<void>;
}

const distribution = '/debian/dists/trixie';
const index = 'main/binary-amd64/Packages';

export async function startDebianArchive(): Promise<TestArchive> {
  const stack = new AsyncDisposableStack();
  const mirror = stack.use(await startMirror());
  const gpg = stack.use(await createGpg());
  const directory = stack.use(await mkdtempDisposable(join(tmpdir(), 'nibs-archive-')));
  const key = await gpg.createPrimary('archive', { usage: 'cert,sign' });
  const keyring = join(directory.path, 'keyring.asc');
  await writeFile(keyring, await gpg.exportKeys(key));
  let current: readonly TestPackage[] = [];
  const url = `${mirror.url}/debian`;
  // Without the time of the last change apt fetches a file anew each time.
  const put = (path: string, content: string): void =>
    mirror.put(path, Buffer.from(content), { etag: undefined, lastModified: undefined });

  async function publishSignedBy(signer: string): Promise<void> {
    for (const one of current) put(`/debian/${pathOf(one)}`, contentOf(one));
    const list = current.map(stanza).join('\n');
    const release = releaseFile(list);
    put(`${distribution}/${index}`, list);
    put(`${distribution}/Release`, release);
    const signature = await gpg.sign(Buffer.from(release), [signer], { armor: true });
    put(`${distribution}/Release.gpg`, signature.toString());
  }

  return {
    archive: { release: 'trixie', suites: [], components: ['main'], keyring, mirrors: () => Promise.resolve([url]) },
    cache: join(directory.path, 'cache'),
    url,
    async publish(packages) {
      for (const one of current) mirror.remove(`/debian/${pathOf(one)}`);
      current = packages;
      await publishSignedBy(key);
    },
    tamperWithPackage(name) {
      for (const one of current.filter((other) => other.name === name))
        put(`/debian/${pathOf(one)}`, contentOf(one).replace('contents', 'CONTENTS'));
    },
    tamperWithLists() {
      put(`${distribution}/${index}`, current.map(stanza).join('\n').replaceAll('Maintainer: a', 'Maintainer: b'));
    },
    async signWithAnotherKey() {
      await publishSignedBy(await gpg.createPrimary('another', { usage: 'cert,sign' }));
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

function pathOf({ name, version }: TestPackage): string {
  return `pool/main/${name}_${version}_amd64.deb`;
}

function contentOf({ name, version }: TestPackage): string {
  return `contents of ${name} ${version}\n`;
}

function stanza(one: TestPackage): string {
  const content = contentOf(one);
  const fields = {
    Package: one.name,
    Version: one.version,
    Architecture: 'amd64',
    Maintainer: 'archive <archive@example.test>',
    ...(one.depends !== undefined && { Depends: one.depends }),
    Filename: pathOf(one),
    Size: content.length,
    SHA256: sha256(content),
    Description: one.name,
  };
  return Object.entries(fields)
    .map(([field, value]) => `${field}: ${value}\n`)
    .join('');
}

function releaseFile(list: string): string {
  const fields = {
    Origin: 'Debian',
    Codename: 'trixie',
    Suite: 'stable',
    Date: new Date().toUTCString().replace('GMT', 'UTC'),
    Architectures: 'amd64',
    Components: 'main',
    SHA256: `\n ${sha256(list)} ${list.length} ${index}`,
  };
  return Object.entries(fields)
    .map(([field, value]) => `${field}: ${value}\n`)
    .join('');
}

function sha256(content: string): string {
  return createHash('sha256').update(content).digest('hex');
}
