import assert from 'node:assert/strict';
import { mkdtempDisposable, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { execa } from 'execa';
import { helpText } from '../../agent/settings/arguments.ts';
import { completionText } from '../../agent/settings/completion.ts';
import { type Shell, shells } from '../../completion/script.ts';
import { parseOptions } from '../../installer/options.ts';

function textOf(...args: string[]): string {
  const parsed = parseOptions(args, { board: 'amd64-usr', channel: 'beta', version: '4459.1.0', oem: 'ami' });
  return parsed.kind === 'text' ? parsed.text : assert.fail(JSON.stringify(parsed));
}

interface Program {
  readonly name: string;
  readonly help: string;
  readonly script: (shell: Shell) => string;
}

const installer: Program = {
  name: 'flatcar-install',
  help: textOf('--help'),
  script: (shell) => textOf('--completion', shell),
};
const agent: Program = {
  name: 'tink-agent',
  help: helpText('tink-agent'),
  script: (shell) => completionText('tink-agent', shell),
};

/** Asks a shell that has read the script what it offers for a line; the cursor is at its end. */
const ask: Readonly<Record<Shell, (script: string, line: string) => Promise<string[]>>> = {
  async bash(script, line) {
    const program = `
      source "$1"
      # As readline does it: words end at spaces and COMP_WORDBREAKS, which are words of their own.
      read -r -a parts <<< "$(sed 's/[=:]/ & /g' <<< "$2")"
      [[ $2 == *' ' ]] && parts+=('')
      COMP_WORDS=("\${parts[@]}") COMP_CWORD=$((\${#parts[@]} - 1)) COMP_LINE=$2 COMP_POINT=\${#2}
      [[ $(complete -p "\${COMP_WORDS[0]}") =~ -F\\ ([^ ]+) ]] || exit 3
      "\${BASH_REMATCH[1]}" "\${COMP_WORDS[0]}"
      printf '%s\\n' "\${COMPREPLY[@]}"`;
    return lines((await execa('bash', ['--norc', '-c', program, 'bash', script, line])).stdout);
  },
  async zsh(script, line) {
    const capture = join(import.meta.dirname, 'capture.zsh');
    const { stdout } = await execa('zsh', ['-f', capture, script, line]);
    return lines(stdout).flatMap((text) => /^match (\S+)\s*$/.exec(text)?.[1] ?? []);
  },
  async fish(script, line) {
    const program = 'source $argv[1]; complete --do-complete=$argv[2]';
    const { stdout } = await execa('fish', ['--no-config', '-c', program, script, line]);
    return lines(stdout).map((text) => text.split('\t')[0] ?? '');
  },
};

function lines(text: string): string[] {
  return text.split('\n').filter((line) => line !== '');
}

for (const shell of shells) {
  for (const { name, help, script } of [installer, agent]) {
    test(`${shell} completes every option of ${name} and no other`, async () => {
      await using directory = await mkdtempDisposable(join(tmpdir(), 'completion-'));
      const file = join(directory.path, name);
      await writeFile(file, script(shell));
      const offered = await ask[shell](file, `${name} --`);
      const options = [...help.matchAll(/^ {2}(?:-\w, )?(--[\w-]+)/gm)].map(([, option = '']) => option);
      assert.ok(options.length > 40, help);
      assert.deepEqual(
        [...new Set(offered.map((word) => word.replace(/=$/, '')))].filter((word) => word.startsWith('--')).sort(),
        options.sort(),
      );
    });
  }

  test(`${shell} completes the values of options`, async () => {
    await using directory = await mkdtempDisposable(join(tmpdir(), 'completion-'));
    await writeFile(join(directory.path, 'config:1.ign'), '');
    const [first, second] = [join(directory.path, 'flatcar-install'), join(directory.path, 'tink-agent')];
    await writeFile(first, installer.script(shell));
    await writeFile(second, agent.script(shell));
    const offers = async (file: string, line: string) =>
      (await ask[shell](file, line)).map((word) => word.replace(/^.*[=/]/, '')).sort();
    assert.deepEqual(await offers(first, 'flatcar-install -s -C '), ['alpha', 'beta', 'lts', 'stable']);
    assert.deepEqual(await offers(first, 'flatcar-install --channel=st'), ['stable']);
    assert.deepEqual(await offers(first, 'flatcar-install --base-url '), []);
    assert.deepEqual(await offers(second, 'tink-agent --finish '), ['kexec', 'none', 'poweroff', 'reboot']);
    assert.ok((await offers(second, 'tink-agent --log-level=')).includes('debug'));
    assert.deepEqual(await offers(second, 'tink-agent --grpc-authority '), []);
    const commands = (await offers(second, 'tink-agent ')).filter((word) => !word.startsWith('-'));
    assert.deepEqual(commands, ['doctor', 'explain']);
    assert.deepEqual(await offers(second, 'tink-agent explain log-'), ['log-format', 'log-level']);
  });
}

test('bash and fish complete paths, also after the last of several files and within a name with a colon', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'completion-'));
  const [bash, fish] = [join(directory.path, 'bash'), join(directory.path, 'fish')];
  await writeFile(bash, installer.script('bash'));
  await writeFile(fish, installer.script('fish'));
  const config = join(directory.path, 'pci-0:1.ign');
  await writeFile(config, '');
  for (const option of ['--ignition ', '--device=', '--check-ignition /etc/passwd ']) {
    const line = `flatcar-install ${option}${directory.path}/pci-0`;
    assert.deepEqual(await ask.bash(bash, line), [config], line);
    const offered = (await ask.fish(fish, line)).map((word) => word.replace('--device=', '').replaceAll('\\', ''));
    assert.deepEqual(offered, [config], line);
  }
  assert.deepEqual(await ask.bash(bash, `flatcar-install -i ${directory.path}/pci-0:`), ['1.ign']);
  assert.deepEqual(await ask.bash(bash, `flatcar-install ${directory.path}/pci-0`), []);
});

test('each shell accepts the syntax of its script, and shellcheck that of bash', async () => {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'completion-'));
  for (const { name, script } of [installer, agent]) {
    for (const shell of shells) {
      const file = join(directory.path, `${name}.${shell}`);
      await writeFile(file, script(shell));
      await execa(shell, ['-n', file]);
      if (shell === 'bash') await execa('shellcheck', ['--shell=bash', file]);
      await assert.rejects(execa(shell, ['-n'], { input: `${await readFile(file, 'utf8')}\n'` }));
    }
  }
});

test('the scripts do not depend on the defaults of the machine that made them', () => {
  for (const shell of shells) assert.doesNotMatch(installer.script(shell), /4459|default: /);
});
