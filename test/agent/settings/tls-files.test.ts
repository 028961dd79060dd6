import assert from 'node:assert/strict';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { ConfigError } from '../../../agent/settings/config.ts';
import { readTlsFiles } from '../../../agent/settings/tls-files.ts';
import { createCertificateAuthority } from '../../sandbox/certificates.ts';

test('readTlsFiles() reads what is named, and says which file cannot be used', async (test) => {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-tls-'));
  test.after(() => rm(directory, { recursive: true }));
  const { certificate, key } = await (await createCertificateAuthority()).issue(['agent'], { usage: 'client' });
  const [tlsCertificate, tlsKey, wrong] = ['cert.pem', 'key.pem', 'wrong.pem'].map((name) => join(directory, name)) as [
    string,
    string,
    string,
  ];
  await Promise.all([writeFile(tlsCertificate, certificate), writeFile(tlsKey, key), writeFile(wrong, 'no PEM')]);
  const nothing = { tlsAuthority: undefined, tlsCertificate: undefined, tlsKey: undefined };

  assert.deepEqual(await readTlsFiles(nothing), { certificateAuthority: undefined, clientCertificate: undefined });
  assert.deepEqual(await readTlsFiles({ tlsAuthority: tlsCertificate, tlsCertificate, tlsKey }), {
    certificateAuthority: certificate,
    clientCertificate: { certificate, key },
  });
  const rejects = (given: Partial<Parameters<typeof readTlsFiles>[0]>, message: RegExp) =>
    assert.rejects(
      readTlsFiles({ ...nothing, ...given }),
      (error) => error instanceof ConfigError && message.test(error.message),
    );
  await rejects({ tlsCertificate }, /there is no tls-key/);
  await rejects({ tlsKey }, /there is no tls-cert/);
  await rejects({ tlsAuthority: wrong }, /^tls-ca: cannot use .*wrong\.pem \(it must be in PEM format\)/);
  await rejects({ tlsAuthority: join(directory, 'missing') }, /^tls-ca: cannot use .*ENOENT/);
});
