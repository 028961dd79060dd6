/** OpenPGP keys and signatures that mirrors send. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Clock } from '../../../clock/clock.ts';
import { systemClock } from '../../../clock/system.ts';
import { InstallError } from '../../../installer/errors.ts';
import { createVerifier } from '../../../installer/verify.ts';
import { require, type Target } from '../target.ts';

const corpus = join(import.meta.dirname, '../corpus');
const read = (name: string) => readFileSync(join(corpus, name));
/** Made by gpg, see corpus/README.md. */
const goodKey = read('openpgp-key/key.asc');
const goodSignature = read('openpgp-signature/signature.bin');
/** After the signature was made, wherever the clock of the machine is. */
const clock: Clock = { ...systemClock, now: () => new Date('2026-06-01T00:00:00Z') };
const signed = Buffer.from('signed\n');
const words = [
  ...[
    '-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n',
    '-----END PGP PUBLIC KEY BLOCK-----',
    '-----BEGIN PGP SIGNATURE-----\n\n',
  ],
  ...[
    'Version: 1\n',
    'Hash: SHA512\n',
    '=AAAA\n',
    '\x88\x75\x04',
    '\xc2',
    '\x99\x01\x0d\x04',
    '\xb4',
    '\xd1\xff\xff\xff\xff\xff',
  ],
];

async function verify(signature: Buffer, key: Buffer): Promise<boolean> {
  const source = { origin: 'key', read: async () => key };
  const signal = new AbortController().signal;
  const verifier = await createVerifier({ bytes: signature, origin: 'signature' }, [source], clock, signal);
  for await (const _ of verifier.watch(chunksOf(signed)));
  const { created } = await verifier.verified();
  return !Number.isNaN(created.getTime());
}

async function* chunksOf(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

export const signatureTarget: Target = {
  name: 'openpgp-signature',
  seeds: [goodSignature],
  words,
  maxBytes: 16 * 1024,
  refusals: [InstallError],
  microsecondsPerByte: 200,
  async check(input) {
    require(await verify(input, goodKey), () => 'a signature without a date');
  },
};

export const keyTarget: Target = {
  name: 'openpgp-key',
  seeds: [goodKey],
  words,
  maxBytes: 16 * 1024,
  refusals: [InstallError],
  microsecondsPerByte: 200,
  async check(input) {
    require(await verify(goodSignature, input), () => 'a signature without a date');
  },
};
