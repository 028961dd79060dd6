import { deepEqual, equal, match, ok } from 'node:assert/strict';
import { test } from 'node:test';
import { readLockFile } from '../../debian/lock-file.ts';
import { productLock } from '../../initramfs/package-sets.ts';
import { sbom } from '../../sbom/sbom.ts';

const packages = (await readLockFile(productLock))?.architectures.amd64?.packages ?? [];
const files = [{ name: 'vmlinuz-x86_64', sha256: 'a'.repeat(64), sha1: 'b'.repeat(40) }];
const contents = {
  name: 'nibs-boot-image',
  files,
  packages,
  npmPackages: [{ name: 'zod', version: '4.1.0', license: 'MIT' }],
  libraries: [{ name: 'node-openssl', version: '3.5.8' }],
  timeSeconds: 1_795_194_416,
};
const document = JSON.parse(sbom(contents));

test('sbom() names each package with version, supplier and package URL', () => {
  const kmod = document.packages.find(({ name }: { name: string }) => name === 'kmod');
  equal(kmod.versionInfo, packages.find(({ name }) => name === 'kmod')?.version);
  match(kmod.supplier, /^Organization: .+ \(.+@.+\)$/);
  match(kmod.externalRefs[0].referenceLocator, /^pkg:deb\/debian\/kmod@[^@]+\?arch=amd64&distro=trixie$/);
  const zod = document.packages.find(({ name }: { name: string }) => name === 'zod');
  equal(zod.licenseDeclared, 'MIT');
  match(zod.externalRefs[0].referenceLocator, /^pkg:npm\/zod@\d/);
  const openssl = document.packages.find(({ name }: { name: string }) => name === 'node-openssl');
  equal(openssl.externalRefs[0].referenceLocator, 'pkg:generic/node-openssl@3.5.8');
});

test('sbom() is a document of SPDX 2.3: identifiers are valid, unique, and all referred to', () => {
  equal(document.spdxVersion, 'SPDX-2.3');
  equal(document.creationInfo.created, '2026-11-20T17:06:56Z');
  const elements = [...document.packages, ...document.files].map(({ SPDXID }: { SPDXID: string }) => SPDXID);
  equal(new Set(elements).size, elements.length);
  for (const id of elements) match(id, /^SPDXRef-[a-zA-Z0-9.-]+$/);
  const related = document.relationships.map((one: { relatedSpdxElement: string }) => one.relatedSpdxElement);
  deepEqual(new Set(related), new Set(elements));
});

test('sbom() has the text of licences that ask to be passed on', () => {
  const licences = new Map([
    ['kmod', 'A licence'],
    ['kbd', 'Another'],
    ['runc', 'A licence'],
  ]);
  const { packages: elements, hasExtractedLicensingInfos } = JSON.parse(sbom({ ...contents, licences }));
  deepEqual(hasExtractedLicensingInfos, [
    { licenseId: 'LicenseRef-1', extractedText: 'A licence' },
    { licenseId: 'LicenseRef-2', extractedText: 'Another' },
  ]);
  const declared = (wanted: string) => elements.find(({ name }: { name: string }) => name === wanted).licenseDeclared;
  deepEqual(['kmod', 'kbd', 'runc', 'pigz'].map(declared), [
    ...['LicenseRef-1', 'LicenseRef-2', 'LicenseRef-1', 'NOASSERTION'],
  ]);
});

test('sbom() gives the same bytes for the same contents', () => {
  equal(sbom(contents), sbom(contents));
});

test('sbom() has what is in the bills of its parts, each once', () => {
  const licences = new Map([['kmod', 'A licence']]);
  const part = sbom({ ...contents, licences });
  const whole = JSON.parse(sbom({ ...contents, name: 'medium', npmPackages: [], libraries: [], included: [part] }));
  const names = (one: { packages: { name: string }[] }) => one.packages.slice(1).map(({ name }) => name);
  deepEqual(names(whole).sort(), names(JSON.parse(part)).sort());
  equal(whole.packages[0].name, 'medium');
  ok(whole.hasExtractedLicensingInfos.length === 1);
});
