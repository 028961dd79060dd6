/**
 * Debian packages that tests use besides those of the products, in the versions of
 * packages.lock.json beside this file.
 */
import { join } from 'node:path';
import type { PackageSet } from '../../debian/package.ts';
import { type Selection, selectPackages } from '../../debian/select.ts';
import { kernelPackages } from '../../initramfs/package-sets.ts';
import { packages, packagesLeftOut } from './os-image/recipe.ts';

export const testLock = join(import.meta.dirname, 'packages.lock.json');

/** The operating system that the demo installs, without its kernel. */
const osImage: PackageSet = { name: 'os-image', packages, dependencies: 'all', leftOut: packagesLeftOut };

const kernel: PackageSet = kernelPackages('amd64', 'stable');

/** The syslog servers of Debian, by the names of their packages. */
const syslog = {
  rsyslog: { name: 'rsyslog', packages: ['rsyslog'], dependencies: 'all' },
  'syslog-ng-core': { name: 'syslog-ng-core', packages: ['syslog-ng-core'], dependencies: 'all' },
} as const satisfies Readonly<Record<string, PackageSet>>;

/** A server of router advertisements, DHCPv6 and DHCP with all options. */
const dnsmasq: PackageSet = { name: 'dnsmasq', packages: ['dnsmasq-base'], dependencies: 'all' };

export const testSets: readonly PackageSet[] = [osImage, kernel, ...Object.values(syslog), dnsmasq];

export async function selectOsImage(signal: AbortSignal): Promise<Selection> {
  const [system, ofKernel] = [await select(osImage, signal), await select(kernel, signal)];
  return {
    packages: [...system.packages, ...ofKernel.packages],
    files: new Map([...system.files, ...ofKernel.files]),
    replaced: [...system.replaced, ...ofKernel.replaced],
  };
}

export function selectSyslog(name: keyof typeof syslog): Promise<Selection> {
  return select(syslog[name]);
}

export function selectDnsmasq(): Promise<Selection> {
  return select(dnsmasq);
}

function select(set: PackageSet, signal?: AbortSignal): Promise<Selection> {
  const options = { lockFile: testLock, architecture: 'amd64' as const };
  return selectPackages(set, signal === undefined ? options : { ...options, signal });
}
