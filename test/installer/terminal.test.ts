import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { execa } from 'execa';
import { createLoopDevice } from '../sandbox/loop-device.ts';
import { makeSignedRelease, type SignedRelease } from '../sandbox/signed-release.ts';

const executable = join(import.meta.dirname, `../../build/nibs-linux-${process.arch}`);

let release: SignedRelease;
before(async () => {
  release = await makeSignedRelease();
});
after(async () => {
  await release[Symbol.asyncDispose]();
});

/** Runs a program of the executable on a terminal of this width; returns what it got. */
async function onTerminal(columns: number, environment: Record<string, string>, args: readonly string[]) {
  const command = `stty cols ${columns} -opost && exec "$NIBS" ${args.map((word) => `'${word}'`).join(' ')}`;
  const env = { ...environment, NIBS: executable };
  const { stdout } = await execa('script', ['--quiet', '--return', '--command', command, '/dev/null'], { env });
  return stdout;
}

for (const environment of [{ TERM: 'dumb' }, { TERM: 'xterm', NO_COLOR: '1' }]) {
  const name = Object.entries(environment).flat().join(' ');

  test(`on a terminal of 20 columns (${name}) an installation shows no escapes and no progress that is wider`, async () => {
    await using disk = await createLoopDevice({ sizeBytes: release.imageBytes });
    const args = ['flatcar-install', '-d', disk.path, '-f', `${release.imagePath}.bz2`, '-v'];
    const text = await onTerminal(20, environment, args);
    assert.match(text, /Success!/);
    assert.ok(!text.includes('\x1b'), text);
    const frames = text.split(/[\r\n]/).filter((line) => / %/.test(line));
    assert.match(frames.at(-1) ?? '', /100 %/);
    for (const frame of frames) assert.ok(frame.length < 20, frame);
    if (environment.TERM === 'dumb') assert.ok(!text.includes('\r'), 'a dumb terminal gets whole lines');
  });

  test(`on a terminal of 20 columns (${name}) help and list of disks have no escapes and fit; settings of the agent have none`, async () => {
    for (const args of [
      ['flatcar-install', '--help'],
      ['flatcar-install', '--list-disks'],
      ['tink-agent', '--help'],
      ['tink-worker', '--help'],
    ]) {
      const text = await onTerminal(20, environment, args);
      assert.ok(text.length > 20, text);
      assert.ok(!text.includes('\x1b'), text);
      for (const line of text.split('\n')) assert.ok(line.length <= 20, line);
    }
    const config = await onTerminal(20, environment, [
      'tink-agent',
      '--print-config',
      '--grpc-authority=127.0.0.1',
      '--worker-id=a',
    ]);
    assert.match(config, /log-level = /);
    assert.ok(!config.includes('\x1b'), config);
  });
}
