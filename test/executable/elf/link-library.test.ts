/** Node with its C++ library linked into it, on a system that has none. */
import assert from 'node:assert/strict';
import { readFile, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { execa } from 'execa';
import { linkLibrary } from '../../../executable/elf/link-library.ts';
import { fetchLibstdcxx } from '../../../executable/libstdcxx.ts';
import { type GlibcRoot, makeGlibcRoot } from '../../sandbox/glibc-root.ts';

const cache = resolve(import.meta.dirname, '../../../build/cache/packages');

describe('linkLibrary()', () => {
  let program: Buffer;
  let library: Buffer;
  let root: GlibcRoot;
  before(async () => {
    [program, library] = await Promise.all([readFile(process.execPath), fetchLibstdcxx(process.arch, cache)]);
    root = await makeGlibcRoot('bookworm');
    await writeFile(join(root.path, 'linked'), linkLibrary(program, library), { mode: 0o755 });
  });
  after(async () => {
    await root[Symbol.asyncDispose]();
  });

  /**
   * Runs a script in the root, and gives it some seconds, so that a test of a program that loops
   * fails.
   */
  async function run(script: string): Promise<unknown> {
    const { stdout } = await execa('chroot', [root.path, '/linked', '-e', script], {
      ...{ extendEnv: false, env: { PATH: '/usr/sbin:/usr/bin' } },
    });
    return JSON.parse(stdout);
  }

  test('the program needs the library no more, nor room for it', async () => {
    await writeFile(join(root.path, 'original'), program, { mode: 0o755 });
    const original = await execa('chroot', [root.path, '/original', '--version'], { reject: false });
    assert.match(original.stderr, /libstdc\+\+\.so\.6/);
    assert.equal(original.exitCode, 127);
    const linked = await execa('chroot', [root.path, '/linked', '--version']);
    assert.equal(linked.stdout, process.version);
    const { length } = linkLibrary(program, library);
    assert.ok(length <= program.length, `${length} bytes from ${program.length}`);
  });

  test('the same files make the same bytes', () => {
    assert.ok(linkLibrary(program, library).equals(linkLibrary(program, library)));
  });

  test('its streams, locales, threads, thread-local variables and exit handlers work', async () => {
    const result = await run(`
      const { Worker } = require('node:worker_threads');
      // The report is written with streams of the C++ library, to text and to a file, and names
      // what is loaded.
      const report = process.report.getReport();
      process.report.writeReport('/tmp/report.json');
      const written = JSON.parse(require('node:fs').readFileSync('/tmp/report.json', 'utf8'));
      const workers = Array.from({ length: 8 }, (_, index) => new Promise((resolve, reject) =>
        new Worker('require("node:worker_threads").parentPort.postMessage(new Intl.NumberFormat("de").format(' + index + ' + 0.5))', { eval: true })
          .on('message', resolve).on('error', reject)));
      Promise.all(workers).then((numbers) => console.log(JSON.stringify({
        numbers,
        libraries: report.sharedObjects.filter((name) => name.includes('libstdc++')),
        version: written.header.nodejsVersion,
      })));
    `);
    const numbers = Array.from({ length: 8 }, (_, index) => `${index},5`);
    assert.deepEqual(result, { numbers, libraries: [], version: process.version });
  });

  test('the program and what it starts have the same path and environment as without it', async () => {
    const result = await run(`
      const { execFileSync } = require('node:child_process');
      const child = execFileSync('/linked', ['-p', 'JSON.stringify([process.env, process.argv0])'], { argv0: 'name' });
      console.log(JSON.stringify([process.env, process.argv0, ...JSON.parse(child)]));
    `);
    const environment = { PATH: '/usr/sbin:/usr/bin' };
    assert.deepEqual(result, [environment, '/linked', environment, 'name']);
  });

  test('what it cannot link is an error', async () => {
    const changed = (bytes: Buffer, offset: number, value: number) => {
      const copy = Buffer.from(bytes);
      copy.writeUInt16LE(value, offset);
      return copy;
    };
    assert.throws(() => linkLibrary(Buffer.from('#!/bin/sh\nexit'), library), /not an ELF file/);
    assert.throws(() => linkLibrary(program, changed(library, 18, 40)), /for different processors/);
    assert.throws(() => linkLibrary(changed(program, 16, 3), library), /not one for fixed addresses/);
    const mathematics = await readFile(
      join(root.path, 'usr/lib', `${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu`, 'libm.so.6'),
    );
    assert.throws(() => linkLibrary(program, mathematics), /relocation of unknown type|chooses itself/);
    const older = Buffer.from(library);
    older.write('GLIBCXX_3.4.99', older.indexOf('GLIBCXX_3.4.21'), 'latin1');
    assert.throws(() => linkLibrary(program, older), /does not have \S+ of version GLIBCXX_3\.4\.21/);
  });
});
