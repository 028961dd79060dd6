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
