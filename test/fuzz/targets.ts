import type { Target } from './target.ts';

type Modules = Readonly<Record<string, Target | readonly Target[]>>;

/** All targets by name, with the module that is loaded for it: coverage is that of a few files. */
const modules: readonly (readonly [names: readonly string[], load: () => Promise<Modules>])[] = [
  [['bzip2', 'gzip', 'xz', 'zstd', 'image-format'], () => import('./targets/compressed-images.ts')],
  [['gpt', 'mbr', 'superblock', 'lsblk', 'disk-hint'], () => import('./targets/disks.ts')],
  [
    [
      ...['kernel-command-line', 'settings', 'image-reference', 'host-names', 'proxy-rules', 'image2disk-settings'],
      'printable',
    ],
    () => import('./targets/names.ts'),
  ],
  [['template', 'nats-list', 'journal'], () => import('./targets/documents.ts')],
  [['ignition'], () => import('./targets/ignition.ts')],
  [['openpgp-signature', 'openpgp-key'], () => import('./targets/openpgp.ts')],
  [
    ['server-v0.1', 'server-v0.2', 'server-v0.7', 'server-v0.9', 'server-current', 'grpc-details'],
    () => import('./targets/servers.ts'),
  ],
  [['registry-manifest', 'registry-answers'], () => import('./targets/registries.ts')],
  [['http-headers', 'version-txt', 'sha256sums', 'http-response-head'], () => import('./targets/downloads.ts')],
  [
    ['docker-output', 'docker-answers', 'image-user', 'registry-hosts-file', 'docker-logins'],
    () => import('./targets/engines.ts'),
  ],
  [['image-archive'], () => import('./targets/archives.ts')],
  [['certificates', 'proxy-answers', 'nats-server'], () => import('./targets/connections.ts')],
  [['log-redaction'], () => import('./targets/logs.ts')],
  [['qcow2'], () => import('./targets/qcow2.ts')],
];

export const targetNames: readonly string[] = modules.flatMap(([names]) => names);

/** Deliberate faults, which show that the fuzzer finds such: `make fuzz FUZZ=fault-hang`. */
const faultNames = ['crash', 'uncaught', 'hang', 'wait', 'memory', 'heap', 'prototype'].map((name) => `fault-${name}`);
const allModules: typeof modules = [...modules, [faultNames, () => import('./targets/faults.ts')]];

/** @throws {Error} there is no such target */
export async function loadTarget(name: string): Promise<Target> {
  const [, load] = allModules.find(([names]) => names.includes(name)) ?? [];
  const targets = load === undefined ? [] : Object.values(await load()).flat();
  const target = targets.find((one) => one.name === name);
  if (target === undefined) throw new Error(`there is no target ${name}: give one of ${targetNames.join(', ')}`);
  return target;
}
