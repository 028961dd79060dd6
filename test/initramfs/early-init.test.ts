import { deepEqual, match, ok } from 'node:assert/strict';
import { copyFile, mkdir, mkdtemp, mkdtempDisposable, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { hostArchitecture } from '../../debian/architecture.ts';
import { packAdditions, readAdditions } from '../../initramfs/additions/additions.ts';
import { additionOptions } from '../../initramfs/additions/options.ts';
import { compressedCpio } from '../../initramfs/compressed-cpio.ts';
import { squashfsOptions, writeSquashfs } from '../../initramfs/squashfs.ts';
import { fetchSystem } from '../../initramfs/system.ts';
import { Tree } from '../../initramfs/tree.ts';
import { createCertificateAuthority } from '../sandbox/certificates.ts';

const build = resolve(import.meta.dirname, '../../build');
const files = resolve(import.meta.dirname, '../../initramfs/files');

const image = makeImage();

test('what a second initramfs has below /site is in the root: its files above those of the image, its certificates trusted, its images until they are loaded', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-early-'));
  try {
    const { certificate } = await createCertificateAuthority();
    await writeFile(join(directory, 'ca.pem'), certificate);
    for (const [path, content] of [
      ['usr/sbin/added', 'added\n'],
      ['etc/replaced', 'new\n'],
    ] as const) {
      await mkdir(join(directory, 'files', path, '..'), { recursive: true });
      await writeFile(join(directory, 'files', path), content);
    }
    const given = additionOptions({ files: [join(directory, 'files')], certificate: [join(directory, 'ca.pem')] });
    ok(given);
    const { tree } = await readAdditions(given, {
      ...{ architecture: hostArchitecture, cache: directory, scratch: directory },
      system: () => fetchSystem(join(build, 'cache')),
    });
    // As people make one by hand.
    const byHand = new Tree();
    byHand.file('site/files/usr/bin/by-hand', 'by hand\n', 0o755);
    byHand.file('site/files/usr/lib/by-hand', 'by hand\n');
    byHand.file('site/certificates/none.pem', 'none');
    byHand.file('site/images/one.tar', 'image\n');
    const output = await startRoot(
      directory,
      [await packAdditions(tree, 0), await compressedCpio(byHand, 0, 1)],
      [
        ...['cat /bin/added /bin/by-hand /usr/bin/by-hand /lib/by-hand /etc/replaced /etc/kept', 'readlink /usr/bin'],
        ...['cat /etc/ssl/certs/ca-certificates.crt', 'cat /site/images/one.tar', 'rm /site/images/one.tar'],
        'touch /usr/bin/written; ls /site/images /bin/written',
      ],
    );
    deepEqual(output.split('\n'), [
      'added by the site: none.pem has no certificate in PEM format: ignored',
      'added by the site: files: 4, files with certificates: 1, images: 1',
      ...['added', 'by hand', 'by hand', 'by hand', 'new', 'kept', '../bin', 'of Debian', ''],
      ...certificate.trimEnd().split('\n'),
      ...['image', '/bin/written', '', '/site/images:'],
    ]);
  } finally {
    await rm(directory, { recursive: true });
  }
});

test('the SSH server takes the keys of the site and of the kernel command line, and no password', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-ssh-'));
  const at = (name: string) => join(directory.path, name);
  for (const name of ['first', 'second', 'other'])
    await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', at(name)]);
  await mkdir(at('files/keys'), { recursive: true });
  for (const name of ['first', 'second', 'other', 'second.pub']) await copyFile(at(name), at(`files/keys/${name}`));
  const given = additionOptions({ files: [at('files')], 'authorized-keys': at('first.pub') });
  ok(given);
  const fetching = fetchSystem(join(build, 'cache'));
  const sources = { architecture: hostArchitecture, cache: join(build, 'cache'), scratch: at('scratch') };
  const { tree, packages } = await readAdditions(given, { ...sources, system: () => fetching });
  ok(packages.some(({ name }) => name === 'dropbear-bin'));
  const system = await fetching;
  const { gnu, loader } = hostArchitecture;
  for (const path of [loader, ...['libc.so.6', 'libcrypt.so.1', 'libz.so.1'].map((name) => `lib/${gnu}/${name}`)])
    tree.file(`site/files/${path}`, await readFile(join(system.packages, path)), 0o755);
  const login = (key: string) =>
    `dbclient -y -y -i /keys/${key}.dropbear root@127.0.0.1 'echo ${key} is in; ls /site/ssh' </dev/null 2>&1 | grep -v Caution`;
  const output = await startRoot(
    directory.path,
    [await packAdditions(tree, 0)],
    [
      ...['ip link set lo up', 'mkdir -p /run/nibs /var/log', '/lib/nibs/ssh &'],
      'for key in first second other; do dropbearconvert openssh dropbear /keys/$key /keys/$key.dropbear 2>/dev/null; done',
      'until grep -q "Not backgrounding" /var/log/dropbear 2>/dev/null; do sleep 0.1; done',
      ...['first', 'second', 'other'].map(login),
      'dbclient -y -y root@127.0.0.1 true </dev/null 2>&1 | grep -v Caution',
    ],
  );
  const [, server = '', ...rest] = output.split('\n').filter((line) => line !== '');
  match(server, /^SSH server on port 22, host key SHA256:/);
  const refused = 'dbclient: Connection to root@127.0.0.1:22 exited: No auth methods could be used.';
  deepEqual(rest, ['first is in', 'authorized_keys', 'second is in', 'authorized_keys', refused, refused]);
});

test('without a second initramfs there is nothing of a site', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-early-'));
  try {
    const output = await startRoot(directory, [], ['[ -e /site ] || echo none', 'cat /etc/replaced /etc/kept']);
    deepEqual(output.split('\n'), ['none', 'old', 'kept']);
  } finally {
    await rm(directory, { recursive: true });
  }
});

/**
 * Runs the first process of the boot image in a root of its own, which is a tmpfs as the kernel's
 * rootfs, with a small image and no network but the loopback.
 * @param archives further ones of the initramfs
 * @param commands run in the root, in place of the services
 * @returns what they printed
 */
async function startRoot(
  directory: string,
  archives: readonly Uint8Array[],
  commands: readonly string[],
): Promise<string> {
  const initramfs = [await image, ...archives];
  const script = `mount --make-rprivate /
    mount -t tmpfs rootfs ${directory}/root
    cd ${directory}/root
    for archive in ${initramfs.map((_, index) => `../${index}.cpio.zst`).join(' ')}; do
      zstd --quiet --decompress --stdout $archive | cpio --extract --make-directories --quiet
    done
    mount --rbind /dev host-dev
    exec chroot . /init`;
  await mkdir(join(directory, 'root'));
  for (const [index, archive] of initramfs.entries()) await writeFile(join(directory, `${index}.cpio.zst`), archive);
  const options = ['--mount', '--net', '--pid', '--fork', '--kill-child'];
  const env = { COMMANDS: commands.join('\n') };
  return (await execa('unshare', [...options, 'sh', '-e', '-c', script], { env })).stdout;
}

/**
 * The first archive of the initramfs: the first process, and a system of some programs and scripts.
 * The kernel of this machine has its drivers already, and its settings and consoles are left alone.
 */
async function makeImage(): Promise<Uint8Array> {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-early-'));
  const { packages, tools, timeSeconds } = await fetchSystem(join(build, 'cache'));
  const busybox = await readFile(join(packages, 'bin/busybox'));
  const linkBusybox = (tree: Tree, names: string) => {
    for (const name of names.split(' ')) tree.link(`bin/${name}`, 'busybox');
  };
  const system = new Tree();
  linkBusybox(system, 'sh cat ls rm touch find grep wc readlink ip mkdir sed chmod sleep awk date tr hostname');
  for (const link of ['sbin', 'usr/bin', 'usr/sbin']) system.link(link, link.includes('/') ? '../bin' : 'bin');
  system.link('usr/lib', '../lib');
  for (const name of ['proc', 'sys', 'dev']) system.directory(name);
  system.file('etc/replaced', 'old\n');
  system.file('etc/kept', 'kept\n');
  system.file('etc/ssl/certs/ca-certificates.crt', 'of Debian\n');
  const settings = 'setting() { [ "$1" != nibs_ssh_key ] || cat /keys/second.pub; }';
  system.file('lib/nibs/functions', `announce() { echo "$*"; }\n${settings}\n`);
  for (const name of ['etc/passwd', 'etc/group', 'etc/nsswitch.conf'])
    await system.copy(join(files, 'system', name), name);
  for (const name of ['site', 'ssh', 'supervise', 'log'])
    await system.copy(join(files, 'system/lib/nibs', name), `lib/nibs/${name}`);
  system.file('lib/nibs/start', '#!/bin/sh\n[ ! -d /site ] || /lib/nibs/site\neval "$COMMANDS"\n', 0o755);
  const squashfs = join(directory.path, 'system.squashfs');
  await writeSquashfs(system, squashfs, timeSeconds, squashfsOptions(1), tools);

  const early = new Tree();
  const init = await readFile(join(files, 'early/init'), 'utf8');
  const changed = init
    .replace(/^\t(restart_after_panic|load_filesystem_drivers|say "init")\n/gm, '')
    .replace('\tmount -t devtmpfs dev /dev\n', '\tmount --rbind /host-dev /dev\n');
  early.file('init', changed, 0o755);
  early.file('layers/1-system.squashfs', await readFile(squashfs));
  early.file('bin/busybox', busybox, 0o755);
  linkBusybox(early, 'sh mount mkdir chown chmod cp rm switch_root cat');
  for (const name of ['proc', 'sys', 'dev', 'host-dev', 'memory', 'root']) early.directory(name);
  return await compressedCpio(early, timeSeconds, 1);
}
