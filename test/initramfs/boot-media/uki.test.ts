import { equal, ok, rejects, throws } from 'node:assert/strict';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fetchBootLoaders } from '../../../initramfs/boot-media/boot-loaders.ts';
import { fetchMediaTools } from '../../../initramfs/boot-media/media-tools.ts';
import { addSections } from '../../../initramfs/boot-media/pe-sections.ts';
import { sign } from '../../../initramfs/boot-media/sign.ts';
import { makeUki } from '../../../initramfs/boot-media/uki.ts';
import { runTool } from '../../../tools/run-tool.ts';
import { build, makeSmallImage } from './small-image.ts';

const loaders = await fetchBootLoaders(join(build, 'cache'), 'amd64');

test('makeUki() packs kernel, initramfs, arguments and os-release where objcopy finds them', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-uki-'));
  const image = await makeSmallImage(scratch.path);
  const uki = join(scratch.path, 'nibs.efi');
  await writeFile(uki, await makeUki(image, 'console=ttyS0 worker_id=7', loaders.uefiStub));

  const section = async (name: string): Promise<Buffer> => {
    const path = join(scratch.path, 'section');
    await runTool('objcopy', ['--dump-section', `${name}=${path}`, uki, join(scratch.path, 'copy')]);
    return await readFile(path);
  };
  const kernel = await readFile(image.kernel);
  ok((await section('.linux')).subarray(0, kernel.length).equals(kernel), 'the kernel');
  equal(String(await section('.initrd')), 'the initramfs\n');
  equal(String(await section('.cmdline')), 'console=ttyS0 worker_id=7');
  equal(String(await section('.uname')), '6.12.0-test');
  equal(
    String(await section('.osrel')),
    'ID=nibs\nNAME=nibs\nPRETTY_NAME="nibs boot image of 2023-11-14 with Linux 6.12.0-test"\nVERSION_ID=2023-11-14\n',
  );
});

test('makeUki() gives the same bytes for the same inputs', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-uki-'));
  const image = await makeSmallImage(scratch.path);
  const [first, second] = [await makeUki(image, 'a', loaders.uefiStub), await makeUki(image, 'a', loaders.uefiStub)];
  ok(first.equals(second));
});

test('addSections() refuses what is no PE file, and one without room for more sections', async () => {
  throws(() => addSections(Buffer.from('#!/bin/sh'), []), /not a PE file/);
  const many = Array.from({ length: 40 }, (_, index) => ({ name: `.${index}`, content: Buffer.from('x') }));
  const stub = await readFile(loaders.uefiStub);
  throws(() => addSections(stub, many), /no room for 40 more sections/);
});

test('sign() signs with the key of a site: its certificate verifies it, another does not', async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-sign-'));
  const tools = await fetchMediaTools(join(build, 'cache'));
  const [ours, other] = [await makeKey(scratch.path, 'ours'), await makeKey(scratch.path, 'other')];
  const signed = join(scratch.path, 'signed.efi');
  await sign(loaders.uefiStub, signed, ours, tools);
  await tools.run('sbverify', ['--cert', ours.certificate, signed]);
  await rejects(tools.run('sbverify', ['--cert', other.certificate, signed]), /verification failed/i);

  await rejects(sign(loaders.uefiStub, signed, { ...ours, certificate: other.certificate }, tools), /cannot sign/);
  await rejects(
    sign(loaders.uefiStub, signed, { ...ours, key: '/usr/share/ovmf/PkKek-1-snakeoil.key' }, tools),
    /cannot sign signed.efi: Can't load key .*without a passphrase/,
  );
});

async function makeKey(directory: string, name: string): Promise<{ key: string; certificate: string }> {
  const [key, certificate] = [join(directory, `${name}.key`), join(directory, `${name}.pem`)];
  const subject = ['-subj', `/CN=${name}`, '-days', '30'];
  await runTool('openssl', [
    'req',
    '-x509',
    '-newkey',
    'rsa:2048',
    '-nodes',
    ...subject,
    '-keyout',
    key,
    '-out',
    certificate,
  ]);
  return { key, certificate };
}
