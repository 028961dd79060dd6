import assert from 'node:assert/strict';
import { X509Certificate } from 'node:crypto';
import { test } from 'node:test';
import { rootCertificates } from 'node:tls';
import { parseCertificates } from '../../net/pem.ts';

const [one = '', other = ''] = rootCertificates;

test('parseCertificates() finds each certificate of a text, whatever is between them', () => {
  const found = parseCertificates(`one:\r\n${one.replaceAll('\n', '\r\n')}\r\nother:\n${other}\nend`);
  assert.deepEqual(
    found.map((pem) => new X509Certificate(pem).fingerprint256),
    [one, other].map((pem) => new X509Certificate(pem).fingerprint256),
  );
});

test("parseCertificates() knows OpenSSL's older label", () => {
  assert.equal(parseCertificates(one.replaceAll(' CERTIFICATE', ' X509 CERTIFICATE')).length, 1);
});

test('parseCertificates() refuses a text without certificates, and names one that cannot be read', () => {
  assert.throws(() => parseCertificates('hello'), /^Error: it contains no certificate in PEM format$/);
  const broken = one.replace(/\n.{20}/, '\n');
  assert.throws(() => parseCertificates(`${other}\n${broken}`), /^Error: certificate 2 in it cannot be read: /);
});

test('parseCertificates() takes the next last line of the same label, and goes on after one without', () => {
  const x509 = one.replaceAll(' CERTIFICATE', ' X509 CERTIFICATE');
  const open = '-----BEGIN TRUSTED CERTIFICATE-----\n';
  assert.deepEqual(parseCertificates(`${open}${one}${open}${x509}-----END CERTIFICATE-----`), [
    new X509Certificate(one).toString(),
    new X509Certificate(one).toString(),
  ]);
});
