import { equal, match, throws } from 'node:assert/strict';
import { basename } from 'node:path';
import { test } from 'node:test';
import { architectures, hostArchitecture } from '../../debian/architecture.ts';
import { imageOptions } from '../../initramfs/container-image.ts';

test('imageOptions() names the archive of another architecture by it, and takes the executable for it', () => {
  for (const architecture of architectures) {
    const { output, executable } = imageOptions({ arch: architecture.name }, 'tink-worker');
    const mark = architecture === hostArchitecture ? '' : `-${architecture.name}`;
    equal(basename(output), `tink-worker${mark}.oci.tar`);
    equal(basename(executable), `nibs-linux-${architecture.node}`);
  }
  match(imageOptions({}, 'tink-worker').output, /\/build\/tink-worker\.oci\.tar$/);
});

test('imageOptions() refuses an architecture that nothing is built for', () => {
  throws(() => imageOptions({ arch: 'arm64' }, 'tink-worker'), /arm64, only for x86_64 and aarch64/);
});
