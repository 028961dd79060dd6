import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { parseOptions } from '../../installer/options.ts';

const manual = join(import.meta.dirname, '../../installer/flatcar-install.8');

/** What groff says about a manual page. */
async function warningsOf(source: string): Promise<string> {
  const env = { LC_ALL: 'C.UTF-8', MANPAGER: 'cat' };
  const { stdout, stderr } = await execa('man', ['--warnings=w', '--local-file', '-'], { input: source, env });
  assert.match(stdout, /flatcar-install/);
  return stderr;
}

test('flatcar-install.8 is a manual page without a mistake', async () => {
  const source = await readFile(manual, 'utf8');
  assert.equal(await warningsOf(source), '');
  assert.notEqual(await warningsOf(source.replace('.Sh FILES', '.Sj FILES')), '', 'a mistake would be noticed');
});

/** Each heading with its options, as `-d, --device <device>`. */
function optionsOfHelp(): string[] {
  const parsed = parseOptions(['--help'], { board: 'amd64-usr', channel: 'stable', version: 'current', oem: '' });
  assert.equal(parsed.kind, 'text');
  const text = parsed.kind === 'text' ? parsed.text : '';
  return text.split('\n').flatMap((line) => {
    const heading = /^([A-Z][\w ]+):$/.exec(line)?.[1];
    const option = /^ {2}((?:-\w, )?--[\w-]+(?: <\w+>)?)/.exec(line)?.[1];
    return heading ?? option ?? [];
  });
}

function optionsOfManual(source: string): string[] {
  const description = source.slice(source.indexOf('.Ss '), source.indexOf('.Sh ENVIRONMENT'));
  return description.split('\n').flatMap((line) => {
    const heading = /^\.Ss (.+)$/.exec(line)?.[1];
    const [, letter, name, argument] = /^\.It (?:Fl (\w) , )?Fl -([\w-]+)(?: Ar (\w+))?$/.exec(line) ?? [];
    if (name === undefined) return heading ?? [];
    return `${letter === undefined ? '' : `-${letter}, `}--${name}${argument === undefined ? '' : ` <${argument}>`}`;
  });
}

test('flatcar-install.8 has every option of --help and no other, in the same places', async () => {
  const help = optionsOfHelp();
  assert.ok(help.includes('-d, --device <device>') && help.length > 35, help.join());
  assert.deepEqual(optionsOfManual(await readFile(manual, 'utf8')), help);
});

test('flatcar-install.8 shows only commands that the program takes', async () => {
  const source = await readFile(manual, 'utf8');
  const examples = [...source.matchAll(/^\.Dl flatcar-install (.+)$/gm)].map(([, text = '']) => text.split(' '));
  assert.ok(examples.length >= 3);
  for (const args of examples) {
    const parsed = parseOptions(args, { board: 'amd64-usr', channel: 'stable', version: 'current', oem: '' });
    assert.equal(parsed.kind, 'options', args.join(' '));
  }
});
