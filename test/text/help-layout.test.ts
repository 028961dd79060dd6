import assert from 'node:assert/strict';
import { test } from 'node:test';
import { helpText } from '../../agent/settings/arguments.ts';
import { parseOptions } from '../../installer/options.ts';
import { noSite } from '../../installer/site.ts';

const defaults = { board: 'amd64-usr', channel: 'stable', version: 'current', oem: '' };

function installerHelp(columns: number): string {
  const parsed = parseOptions(['-h'], defaults, noSite, columns);
  return parsed.kind === 'text' ? parsed.text : assert.fail();
}

const words = (text: string) => text.replaceAll(/\s+/g, '');

test('helpLayout() makes a help of any width, with the same words', () => {
  for (const help of [installerHelp, (columns: number) => helpText('tink-agent', columns)]) {
    for (const columns of [10, 20, 40, 76, 80, 100, 120]) {
      const text = help(columns);
      for (const line of text.split('\n')) assert.ok(line.length <= columns, `${columns}: ${line}`);
      assert.equal(words(text), words(help(120)));
    }
  }
  assert.match(installerHelp(80), /^ {2}-d, --device <device> +install to this disk, or to this file, which$/m);
  assert.match(installerHelp(60), /^ {2}-d, --device <device>\n {6}install to this disk, or to this file, /m);
});
