/** docs/support.md names the protocol versions and the sources that the programs have. */
import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { protocolProfiles } from '../../agent/transport/grpc/dialect.ts';
import { SERVER_DIALECTS } from '../sandbox/tink-server/server.ts';
import { root } from './pages.ts';

test('docs/support.md has a row for each protocol version, and each is tested', async () => {
  const page = await readFile(join(root, 'docs/support.md'), 'utf8');
  const rows = [...page.matchAll(/^\| v[^|]*\| `([^`]+)` \|/gm)].map(([, dialect]) => dialect);
  assert.deepEqual(rows, [...protocolProfiles.map(({ dialect }) => dialect), 'current']);
  assert.deepEqual(rows.toSorted(), [...SERVER_DIALECTS].toSorted());
});
