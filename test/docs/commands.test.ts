/**
 * Every command of the documents: those in fenced blocks of shell. Each is run here, or a comment
 * before its block names the test that runs it, or the reason why none does.
 *
 * What is changed to run them here: installations are dry runs (`-y`) on a loop device, in place of
 * /dev/sda and of the smallest disk; files that a command names are made in a directory of the
 * test.
 */
import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { execa } from 'execa';
import { makeFlatcarImage } from '../sandbox/flatcar-layout.ts';
import { createLoopDevice, type LoopDevice } from '../sandbox/loop-device.ts';
import { createGpg } from '../sandbox/signing.ts';
import { startTinkServer, type TinkServer } from '../sandbox/tink-server/server.ts';
import { makePrograms } from '../sandbox/workflows/seed.ts';
import { readPages, root } from './pages.ts';

interface Block {
  /** `docs/agent.md:85` */
  readonly place: string;
  readonly lines: readonly string[];
  readonly mark: { readonly kind: 'run' | 'run by' | 'not run'; readonly note: string };
}

const fence = /(?:<!-- (run by|not run): ((?:(?!-->)[\s\S])+?) -->\n)?^```(?:sh|bash|console)\n([\s\S]*?)^```$/gm;

const blocks: readonly Block[] = readPages()
  .filter(({ path }) => path !== 'CHANGELOG.md')
  .flatMap(({ path, text }) =>
    [...text.matchAll(fence)].map((match): Block => {
      const [all, kind = 'run', note = '', body = ''] = match;
      const line = text.slice(0, match.index + all.indexOf('```')).split('\n').length;
      const lines = body.split('\n').filter((command) => command.trim() !== '' && !command.startsWith('#'));
      return { place: `${path}:${line}`, lines, mark: { kind: kind as Block['mark']['kind'], note } };
    }),
  );

let directory: string;
let disk: LoopDevice;
let server: TinkServer;
let environment: Record<string, string>;

before(async () => {
  directory = await mkdtemp(join(tmpdir(), 'nibs-commands-'));
  [disk, server] = await Promise.all([createLoopDevice({ sizeBytes: 20e9 }), startTinkServer()]);
  const programs = await makePrograms(join(directory, 'provisioner'), server);
  for (const name of ['tink-agent', 'flatcar-install', 'image2disk']) await makeProgram(programs, name);
  await writeFile(join(programs, 'build-image'), '#!/bin/sh\ncat own.img.zst\n', { mode: 0o755 });
  await makeFiles();
  const { PATH = '' } = process.env;
  environment = {
    ...{ PATH: `${programs}:${PATH}`, HOME: directory, SUM: 'a'.repeat(128), LC_ALL: 'C.UTF-8' },
    ...{ NIBS_KERNEL_COMMAND_LINE: '/dev/null', NIBS_STATE_DIRECTORY: join(directory, 'state') },
  };
});

after(async () => {
  await server?.stop();
  await disk?.[Symbol.asyncDispose]();
  await rm(directory, { recursive: true });
});

async function makeProgram(programs: string, name: string): Promise<void> {
  const script = `#!/bin/sh\nexec ${process.execPath} ${root}/executable/main.ts ${name} "$@"\n`;
  await writeFile(join(programs, name), script, { mode: 0o755 });
}

/** Those that the commands name. */
async function makeFiles(): Promise<void> {
  const config = '{"ignition": {"version": "3.3.0"}}\n';
  for (const name of ['ignition.json', 'node.ign', 'other.ign']) await writeFile(join(directory, name), config);
  await using gpg = await createGpg();
  const key = await gpg.exportKeys(await gpg.createPrimary('mirror', { algorithm: 'rsa2048' }));
  for (const name of ['mirror-key.asc', 'own-key.asc']) await writeFile(join(directory, name), key);
  const image = join(directory, 'own.img');
  await makeFlatcarImage({ path: image });
  await execa('zstd', ['-q', '--fast', image]);
  // A partition to keep, behind the image.
  await execa('sgdisk', ['--new', '9:30000000:+8M', '--change-name', '9:data-1', disk.path]);
  const template = await readFile(join(root, 'templates/local-mirror.yaml'), 'utf8');
  await writeFile(join(directory, 'flatcar.yaml'), template);
  for (const name of ['.zfunc', '.config/fish/completions']) await mkdir(join(directory, name), { recursive: true });
  for (const name of ['templates', 'installer', 'agent', 'docs'])
    await symlink(join(root, name), join(directory, name));
  await mkdir(join(directory, 'build'));
  await symlink(join(root, 'installer/flatcar-install.8'), join(directory, 'build/flatcar-install.8'));
  await symlink(join(root, 'agent/tink-agent.8'), join(directory, 'build/tink-agent.8'));
}

/** A command as it is run here; see the head of this file. */
function here(command: string): string {
  const text = command
    .replace(/(?<= )-s(?= )/, `-d ${disk.path}`)
    .replaceAll('/dev/sda', disk.path)
    .replace(/^man /, 'man --pager=cat ')
    .replaceAll('~/', `${directory}/`);
  const isInstallation =
    /\bflatcar-install .*(?:-d |-s )|\bflatcar-install -D/.test(text) && !/<|--completion/.test(text);
  const [words = '', ...comment] = text.split(/(?= +# )/);
  return isInstallation ? `${words} -y${comment.join('')}` : text;
}

/** Exit codes that say that the command did its work. */
function accepted(command: string): readonly number[] {
  // doctor finds that there is neither engine nor server here.
  return command.startsWith('tink-agent doctor') ? [0, 1] : [0];
}

/** What may be run here. Others might change this machine: their commands need a comment. */
const harmless = /^(?:flatcar-install|image2disk|tink-agent|build-image \||source <\(|docker exec|man) ?/;

let templateId = '';

async function run(command: string): Promise<void> {
  assert.match(command, harmless, 'name the test that runs it, or the reason why none does, in a comment before it');
  const text = here(command).replace('TEMPLATE_ID', templateId);
  assert.doesNotMatch(text, /\/dev\/(?!loop|null)/, 'no disk of this machine');
  const ran = await execa('bash', ['-c', text], {
    cwd: directory,
    env: environment,
    extendEnv: false,
    reject: false,
    timeout: 600_000,
  });
  assert.ok(!ran.timedOut && accepted(command).includes(ran.exitCode ?? -1), `${text}\n${ran.stdout}\n${ran.stderr}`);
  templateId = /^Created Template: +(\S+)$/m.exec(ran.stdout)?.[1] ?? templateId;
}

describe('commands of the documents', () => {
  for (const { place, lines, mark } of blocks) {
    if (mark.kind !== 'run') continue;
    test(`${place} is run`, async () => {
      for (const line of lines) await run(line);
    });
  }
});

test('a test that a comment names as the one that runs a command exists', () => {
  for (const { place, mark } of blocks.filter(({ mark }) => mark.kind === 'run by'))
    assert.ok(existsSync(join(root, mark.note)), `${place}: ${mark.note}`);
});

test('a command that is not run has a reason; the count of all', (t) => {
  const count = (kind: string) =>
    blocks.filter(({ mark }) => mark.kind === kind).reduce((sum, { lines }) => sum + lines.length, 0);
  for (const { place, mark } of blocks) if (mark.kind === 'not run') assert.match(mark.note, /\S+ \S+ \S+/, place);
  const counts = { run: count('run'), byOthers: count('run by'), not: count('not run') };
  assert.ok(counts.run >= 15);
  t.diagnostic(
    `commands: ${counts.run} run here, ${counts.byOthers} by other tests, ${counts.not} not run, with the reason`,
  );
});
