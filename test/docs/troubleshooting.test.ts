/** docs/troubleshooting.md has each message that the programs print, with what to do. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { agentMessages } from '../agent/message-table.ts';
import { bootMessages } from '../initramfs/message-table.ts';
import { agentTexts, bootTexts, type Messages } from './messages.ts';
import { root } from './pages.ts';
import { messagesPage } from './troubleshooting-page.ts';

type Table = Readonly<Record<string, Readonly<Record<string, string>>>>;

function compare(found: Messages, table: Table): void {
  const present = new Set(Object.entries(found).flatMap(([file, texts]) => texts.map((text) => `${file}: ${text}`)));
  const known = new Set(
    Object.entries(table).flatMap(([file, texts]) => Object.keys(texts).map((text) => `${file}: ${text}`)),
  );
  assert.deepEqual([...present.difference(known)], [], 'new: add them to the table, with what they mean');
  assert.deepEqual([...known.difference(present)], [], 'no longer in the sources');
}

test('each message of the agent is in the table, and the table has no others', async () => {
  const found = await agentTexts();
  assert.ok(Object.values(found).flat().length > 400);
  compare(found, agentMessages);
});

test('each message of the boot image is in the table, and the table has no others', async () => {
  const found = await bootTexts();
  assert.ok(Object.values(found).flat().length > 30);
  compare(found, bootMessages);
});

test('each message has a meaning; one that needs something to be done says what', () => {
  for (const table of [agentMessages, bootMessages]) {
    for (const [file, texts] of Object.entries(table)) {
      for (const [text, note] of Object.entries(texts)) {
        if (/^(?:part|normal|internal): \S/.test(note)) continue;
        assert.match(note, /^\S.{4,}? > \S.{3,}$/, `${file}: ${text}`);
      }
    }
  }
});

test('docs/troubleshooting.md is made of the tables', async () => {
  const page = await readFile(join(root, 'docs/troubleshooting.md'), 'utf8');
  assert.ok(page.endsWith(`\n${messagesPage()}\n`), 'run `make generate`');
});
