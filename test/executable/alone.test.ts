/** The executable where there is nothing but a C library, as on CaptainOS. */
import assert from 'node:assert/strict';
import { chmod, copyFile, mkdir, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { execa } from 'execa';
import { ElfImage, Tag } from '../../executable/elf/image.ts';
import { type GlibcRoot, makeGlibcRoot } from '../sandbox/glibc-root.ts';
import { startTinkServer } from '../sandbox/tink-server/server.ts';

const executable = join(import.meta.dirname, `../../build/nibs-linux-${process.arch}`);
const names = ['tink-agent', 'tink-worker', 'flatcar-install'];

/**
 * A root with the executable under all its names, one of them a copy: CaptainOS takes the file to
 * /tink-agent.
 */
async function makeHost(suite: 'bookworm' | 'trixie'): Promise<GlibcRoot> {
  const root = await makeGlibcRoot(suite);
  await copyFile(executable, join(root.path, 'tink-agent'));
  await chmod(join(root.path, 'tink-agent'), 0o755);
  for (const name of names) await symlink('/tink-agent', join(root.path, 'usr/bin', name));
  return root;
}

function run(root: GlibcRoot, ...command: string[]) {
  return execa('chroot', [root.path, ...command], {
    reject: false,
    extendEnv: false,
    env: { PATH: '/usr/sbin:/usr/bin' },
  });
}

test('the executable needs no library but those of glibc 2.28 and GCC', async () => {
  const image = new ElfImage(await readFile(executable));
  const loader = process.arch === 'arm64' ? 'ld-linux-aarch64.so.1' : 'ld-linux-x86-64.so.2';
  const glibc = ['libdl.so.2', 'libm.so.6', 'libpthread.so.0', 'libc.so.6', loader];
  assert.deepEqual(image.texts(Tag.needed).toSorted(), [...glibc, 'libgcc_s.so.1'].toSorted());
  const versions = new Set(image.symbols.flatMap(({ version }) => version?.name ?? []));
  const minors = [...versions].flatMap((name) => name.match(/^GLIBC_2\.(\d+)/)?.[1] ?? []).map(Number);
  assert.equal(Math.max(...minors), 28);
  assert.deepEqual(
    [...versions].filter((name) => !/^GLIBC_2\.|^GCC_[34]\./.test(name)),
    [],
  );
});

for (const suite of ['bookworm', 'trixie'] as const) {
  describe(`in a root that holds only libc6 and libgcc-s1 of Debian (${suite})`, () => {
    let root: GlibcRoot;
    before(async () => {
      root = await makeHost(suite);
    });
    after(() => root[Symbol.asyncDispose]());

    test('there is no C++ library', async () => {
      const files = await readdir(root.path, { recursive: true });
      assert.ok(files.some((name) => name.endsWith('/libgcc_s.so.1')));
      assert.deepEqual(
        files.filter((name) => name.includes('libstdc++')),
        [],
      );
    });

    test('it starts under every name, also without /proc', async () => {
      for (const name of names) {
        const { stdout, stderr, exitCode } = await run(root, name, '--help');
        assert.deepEqual([stdout.split(' ').slice(0, 2), stderr, exitCode], [['Usage:', name], '', 0]);
      }
      assert.match((await run(root, '/tink-agent', '--version')).stdout, /^tink-agent \(nibs\) /);
    });

    test('the agent works: it sends its attributes to a server', async () => {
      await using server = await startTinkServer({ dialect: 'current' });
      const asked = Promise.withResolvers<unknown>();
      using _ = server.subscribeToCalls((rpc, request) => {
        if (rpc === 'GetAction') asked.resolve(request);
      });
      await writeFile(join(root.path, 'cmdline'), '');
      await mkdir(join(root.path, 'state'));
      const settings = [`--grpc-server=${server.authority}`, '--tinkerbell-tls=false', '--dialect=current', '--id=one'];
      const agent = execa(
        'unshare',
        [
          ...[
            '--mount',
            'sh',
            '-c',
            'mount -t proc proc "$1/proc"; mount -t sysfs sysfs "$1/sys"; exec chroot "$@"',
            'sh',
            root.path,
          ],
          ...['/tink-agent', ...settings, '--state-directory=/state', '--status-address=off'],
        ],
        {
          all: true,
          forceKillAfterDelay: false,
          reject: false,
          extendEnv: false,
          env: { PATH: process.env['PATH'], NIBS_KERNEL_COMMAND_LINE: '/cmdline' },
        },
      );
      const request = await Promise.race([asked.promise, agent.then(({ all }) => assert.fail(all))]);
      agent.kill('SIGTERM');
      assert.equal((await agent).exitCode, 0);
      assert.partialDeepStrictEqual(request, { agentAttributes: { cpu: { totalThreads: availableParallelism() } } });
    });
  });
}
