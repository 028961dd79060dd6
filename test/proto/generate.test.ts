import assert from 'node:assert/strict';
import { cp, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, it } from 'node:test';
import { execa } from 'execa';

const root = path.join(import.meta.dirname, '..', '..');

function check(directory: string) {
  return execa(process.execPath, [path.join(directory, 'proto', 'generate.ts'), '--check'], { reject: false });
}

describe('generate.ts --check', () => {
  it('finds the generated code as the .proto generates it', async () => {
    const { exitCode, stdout } = await check(root);
    assert.deepEqual({ exitCode, stdout }, { exitCode: 0, stdout: '' });
  });

  it('names what differs, is missing or superfluous, and fails', async (test) => {
    const copy = await mkdtemp(path.join(tmpdir(), 'proto-test-'));
    test.after(() => rm(copy, { recursive: true }));
    await cp(path.join(root, 'proto'), path.join(copy, 'proto'), { recursive: true });
    await cp(path.join(root, 'package.json'), path.join(copy, 'package.json'));
    await symlink(path.join(root, 'node_modules'), path.join(copy, 'node_modules'));
    await writeFile(path.join(copy, 'proto', 'tink.pb.ts'), 'changed');
    await writeFile(path.join(copy, 'proto', 'old.pb.ts'), '');
    await rm(path.join(copy, 'proto', 'google', 'protobuf', 'timestamp.pb.ts'));
    const { exitCode, stdout } = await check(copy);
    assert.equal(exitCode, 1);
    assert.deepEqual(stdout.split('\n').sort(), [
      'generate the code again with: node proto/generate.ts',
      'proto/google/protobuf/timestamp.pb.ts is missing',
      'proto/old.pb.ts is not generated from any .proto any more',
      'proto/tink.pb.ts differs from what its .proto generates',
    ]);
  });
});
