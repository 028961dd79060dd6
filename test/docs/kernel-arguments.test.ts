import { deepEqual, ok } from 'node:assert/strict';
import { readdir, readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { test } from 'node:test';

const root = resolve(import.meta.dirname, '../..');

/** What these systems read, by their sources. */
const known = {
  OSIE:
    'facility packet_action packet_state packet_base_url packet_bootdev_mac BOOTIF ip modules blacklist quiet debug_init single ' +
    'rootflags ssh_key apkovl pkgs init splash usbdelay keep_apk_new alpine_repo modloop docker_registry grpc_authority grpc_cert_url ' +
    'registry_username registry_password tinkerbell worker_id instance_id syslog_host plan manufacturer slug pwhash eclypsium_token ' +
    'parch console initrd iommu.passthrough',
  HookOS:
    'syslog_host insecure_registries HTTP_PROXY HTTPS_PROXY NO_PROXY docker_registry registry_username registry_password grpc_authority ' +
    'worker_id tink_worker_image tinkerbell_tls tinkerbell_insecure_tls vlan_id hw_addr interface ipam facility modules intel_iommu ' +
    'iommu initrd console',
  CaptainOS:
    'tink_worker_image docker_registry registry_username registry_password grpc_authority worker_id tinkerbell_tls ' +
    'tinkerbell_insecure_tls syslog_host syslog_port insecure_registries HTTP_PROXY HTTPS_PROXY NO_PROXY facility ipam',
};

const page = await readFile(join(root, 'docs/kernel-arguments.md'), 'utf8');
const rows = [...page.matchAll(/^\| (`.*`) \| .* \| (used|kernel|ignored) \| (.*) \|$/gm)].flatMap(
  ([, names = '', use = '', why = '']) =>
    [...names.matchAll(/`([^`]+)`/g)].map(([, name = '']) => ({ name, use, why })),
);

test('each kernel argument of OSIE, HookOS and CaptainOS has its row, and no argument has two', () => {
  const names = rows.map(({ name }) => name);
  deepEqual(names.length, new Set(names).size);
  const missing = Object.values(known).flatMap((list) => list.split(' ').filter((name) => !names.includes(name)));
  deepEqual(missing, []);
});

test('the image reads what is called used, and nothing that is called ignored; that has a reason', async () => {
  const read = await argumentsRead();
  for (const { name, use, why } of rows) {
    if (use === 'used') ok(read.has(name) || ['console', 'quiet', 'panic'].includes(name), `nothing reads ${name}`);
    if (use === 'ignored') ok(!read.has(name) && why !== '', `${name} is read, or its reason is missing`);
  }
});

test('no argument ends like one that boot loaders look for anywhere on the line', async () => {
  const settings = await readFile(join(root, 'docs/settings.md'), 'utf8');
  const ofAgent = [...settings.matchAll(/`([\w.]+)`/g)].map(([, name = '']) => name);
  const names = [...ofAgent, ...(await argumentsRead()), ...rows.map(({ name }) => name)];
  ok(names.includes('nibs_finish'));
  // The EFI stub of the kernel: initrd=, dtb=; iPXE on BIOS: mem=, vga=.
  deepEqual(
    names.filter((name) => /.(?:initrd|dtb|mem|vga)$/i.test(name)),
    [],
  );
});

/** The names that the scripts of the boot image and the agent ask for. */
async function argumentsRead(): Promise<ReadonlySet<string>> {
  const names = new Set<string>();
  const files = await readdir(join(root, 'initramfs/files'), { recursive: true, withFileTypes: true });
  for (const { parentPath, name: file } of files.filter((one) => one.isFile())) {
    const script = await readFile(join(parentPath, file), 'utf8');
    for (const [, name = ''] of script.matchAll(/\b(?:setting|requested) (\w+)/g)) names.add(name);
    // The loops over names.
    for (const [, list = ''] of script.matchAll(/^\s*for (?:name|key) in ([\w ]+); do$/gm))
      for (const name of list.split(' ')) names.add(name);
  }
  const tables = join(root, 'agent/settings/table');
  for (const file of await readdir(tables)) {
    const table = await readFile(join(tables, file), 'utf8');
    for (const [, list = ''] of table.matchAll(/kernel: \[([^\]]*)\]/g))
      for (const [, name = ''] of list.matchAll(/'([^']+)'/g)) names.add(name);
  }
  return names;
}
