/** Archives of container images that a site adds to the boot image: paths, links, layers, sizes. */
import { createHash } from 'node:crypto';
import { gzipSync } from 'node:zlib';
import { readImageArchive } from '../../../initramfs/additions/image-archive.ts';
import { require, type Target } from '../target.ts';

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex');

/** POSIX.1-1988, ustar. */
function entry(name: string, content: string | Buffer, type = '0', link = ''): Buffer {
  const bytes = Buffer.from(content);
  const header = Buffer.alloc(512);
  header.write(name, 0, 100);
  header.write('0000644\0', 100);
  header.write(`${bytes.length.toString(8).padStart(11, '0')}\0`, 124);
  header.write(`${'0'.repeat(11)}\0        ${type}${link}`, 136);
  header.write('ustar\x0000', 257);
  return withChecksum(Buffer.concat([header, bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]));
}

/** The right checksum in every header that has about the form of one. */
function withChecksum(input: Buffer): Buffer {
  const bytes = Buffer.from(input);
  for (let at = 0; at + 512 <= bytes.length; at += 512) {
    if (bytes.toString('latin1', at + 257, at + 262) !== 'ustar') continue;
    bytes.fill(' ', at + 148, at + 156);
    const sum = bytes.subarray(at, at + 512).reduce((total, byte) => total + byte, 0);
    bytes.write(`${sum.toString(8).padStart(6, '0')}\0 `, at + 148);
  }
  return bytes;
}

const layer = entry('etc/passwd', 'root:x:0:0\n');
const configuration = JSON.stringify({
  ...{ architecture: 'amd64', os: 'linux' },
  rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
});
const digestOf = (content: string | Buffer) => `sha256:${sha256(Buffer.from(content))}`;
const blob = (content: string | Buffer) => entry(`blobs/sha256/${sha256(Buffer.from(content))}`, content);
const manifest = JSON.stringify({
  config: { digest: digestOf(configuration) },
  layers: [{ digest: digestOf(gzipSync(layer)) }],
});
const index = JSON.stringify({
  manifests: [{ digest: digestOf(manifest), annotations: { 'io.containerd.image.name': 'a.example/b:c' } }],
});
const loop = `{"manifests":[{"digest":"sha256:${'a'.repeat(64)}"}]}`;

export const imageArchiveTarget: Target = {
  name: 'image-archive',
  seeds: [
    Buffer.concat([
      entry('manifest.json', '[{"Config":"c.json","RepoTags":["a:b"],"Layers":["x/layer.tar"]}]'),
      entry('c.json', configuration),
      entry('x/layer.tar', '', '2', '../y/layer.tar'),
      entry('y/layer.tar', layer),
    ]),
    Buffer.concat([entry('index.json', index), blob(manifest), blob(configuration), blob(gzipSync(layer))]),
    // An index that names itself.
    Buffer.concat([entry('index.json', loop), entry(`blobs/sha256/${'a'.repeat(64)}`, loop)]),
    entry('../../etc/passwd', '', '1', '/etc/shadow'),
  ],
  words: [
    'ustar',
    '../',
    './',
    '/',
    '"Layers":',
    '"Config":',
    '"manifests":',
    '.wh..wh..opq',
    '77777777777',
    '\x80\0\0\0',
  ],
  refusals: [Error],
  async check(input) {
    for (const bytes of [input, withChecksum(input)]) {
      const images = await readImageArchive(bytes, 'amd64').catch((error: unknown) => {
        // It is refused as the other one is.
        if (bytes === input && error instanceof Error && error.name === 'Error') return [];
        throw error;
      });
      for (const { id, layers, names } of images) {
        require(/^sha256:[0-9a-f]{64}$/.test(id), () => `the id ${id}`);
        require(layers.every(({ diffId }) => /^sha256:/.test(diffId)), () => 'a layer without a digest');
        require(names.every((name) => typeof name === 'string'), () => 'a name is no text');
      }
    }
  },
};
