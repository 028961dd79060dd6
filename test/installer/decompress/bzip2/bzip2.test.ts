import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import type { Bzip2Options } from '../../../../installer/decompress/bzip2/bzip2.ts';
import { DecompressError } from '../../../../installer/decompress/error.ts';
import { Random } from '../random.ts';
import { corpus } from './corpus.ts';
import { decodeAll, decodedBy } from './decode.ts';
import { inThisThread } from './in-this-thread.ts';

const cases = [...corpus()].map((it) => ({ ...it, expected: decodedBy('bzip2', it.file) }));

describe('bzip2() decodes what the bzip2 program decodes, and rejects the rest', () => {
  test('on a corpus of at least 200 files, good and bad ones', () => {
    const accepted = cases.filter(({ expected }) => expected).length;
    assert.ok(accepted >= 150, `${accepted} of ${cases.length} files are good`);
    assert.ok(cases.length - accepted >= 150, `${cases.length - accepted} of ${cases.length} files are bad`);
  });

  for (const kernel of ['wasm', 'typescript'] as const) {
    test(`with the ${kernel} kernel`, async () => {
      for (const it of cases) await compare(it, { kernel, workers: 1 });
    });

    test(`with the ${kernel} kernel, cut into pieces at random`, async () => {
      const random = new Random(11);
      for (const it of cases) {
        const pieceBytes = random.between(50, Math.max(100, it.file.length / 4));
        const overlapBytes = random.between(16, 10_000);
        await compare(it, { kernel, workers: 2, pieceBytes, overlapBytes });
      }
    });
  }
});

test('what lbzip2 decodes, bzip2() decodes to the same bytes', async () => {
  let compared = 0;
  for (const { name, file, expected } of cases) {
    // lbzip2 accepts some files that bzip2 rejects; bzip2 is the one to agree with.
    const decoded = expected && decodedBy('lbzip2', file);
    if (!decoded) continue;
    assert.ok(decoded.equals(await decodeAll(file, { workers: 1, startWorker: inThisThread })), name);
    compared++;
  }
  assert.ok(compared >= 100, `${compared} files compared`);
});

async function compare({ name, file, expected }: (typeof cases)[number], options: Bzip2Options): Promise<void> {
  const decoded = await decodeAll(file, { ...options, startWorker: inThisThread }).catch((error: unknown) => {
    assert.ok(error instanceof DecompressError, `${name}: ${(error as Error).stack}`);
    assert.ok((error.offsetBytes ?? -1) >= 0 && (error.offsetBytes ?? 0) <= file.length, `${name}: ${error.message}`);
    return error;
  });
  const described = `${name} (${JSON.stringify(options)})`;
  if (decoded instanceof Error) assert.equal(expected, undefined, `${described}: ${decoded.message}`);
  else assert.ok(expected?.equals(decoded), `${described}: ${expected ? 'other bytes' : 'bzip2 rejects it'}`);
}
