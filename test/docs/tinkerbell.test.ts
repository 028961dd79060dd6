/** The values and the environment in docs/tinkerbell.md, and the command lines they lead to. */
import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { parse } from 'yaml';
import { z } from 'zod';
import { parseArguments } from '../../agent/settings/arguments.ts';
import { loadConfig } from '../../agent/settings/config.ts';
import { root } from './pages.ts';

const page = await readFile(join(root, 'docs/tinkerbell.md'), 'utf8');
const blocks = [...page.matchAll(/^```(\w+)\n([\s\S]*?)^```$/gm)].map(([, language, text = '']) => ({
  language,
  text,
}));
const known = await readFile(join(root, 'docs/kernel-arguments.md'), 'utf8');

/** The values of the chart that the page uses; unknown ones are refused. */
const values = z.strictObject({
  publicIP: z.ipv4(),
  artifactsFileServer: z.url(),
  deployment: z.strictObject({
    envs: z.strictObject({
      smee: z.strictObject({
        ipxeHttpScriptExtraKernelArgs: z.array(z.string()),
        ipxeScriptTinkServerUseTLS: z.boolean(),
      }),
    }),
  }),
  optional: z.strictObject({
    hookos: z.strictObject({ enabled: z.literal(false) }),
    captainos: z.strictObject({ enabled: z.literal(false) }),
  }),
});

/** The agent's configuration from a kernel command line; nothing in it is warned of. */
async function configure(t: TestContext, words: readonly string[]) {
  const directory = await mkdtemp(join(tmpdir(), 'nibs-cmdline-'));
  t.after(() => rm(directory, { recursive: true }));
  const file = join(directory, 'cmdline');
  await writeFile(file, `${words.join(' ')}\n`);
  const { config, warnings } = await loadConfig(parseArguments([`--kernel-command-line=${file}`]), {}, directory);
  assert.deepEqual(warnings, []);
  const names = words.map((word) => word.split('=')[0] ?? '').filter((name) => !name.startsWith('nibs_'));
  assert.deepEqual(
    names.filter((name) => !known.includes(`\`${name}\``)),
    [],
  );
  return config;
}

/** In the order in which smee renders them (tinkerbell, August 2026). */
test('with the values of the chart, smee sends what the agent needs', async (t) => {
  const given = values.parse(parse(blocks.find(({ text }) => text.startsWith('# values.yaml'))?.text ?? ''));
  const { ipxeHttpScriptExtraKernelArgs: more, ipxeScriptTinkServerUseTLS: tls } = given.deployment.envs.smee;
  const config = await configure(t, [
    ...['vlan_id=7', 'facility=onprem', `syslog_host=${given.publicIP}`, `grpc_authority=${given.publicIP}:42113`],
    ...[`tinkerbell_tls=${tls}`, 'tinkerbell_insecure_tls=false', 'worker_id=08:00:27:00:00:01'],
    ...['hw_addr=08:00:27:00:00:01', 'modules=loop,squashfs,sd-mod,usb-storage', 'intel_iommu=on', 'iommu=pt'],
    ...['initrd=initramfs-x86_64', 'console=tty0', 'console=ttyS1,115200', ...more],
    'tink_worker_image=ghcr.io/tinkerbell/tink-agent:v0.25.0',
  ]);
  assert.equal(config.grpcAuthority, '192.168.1.1:42113');
  assert.equal(config.workerId, '08:00:27:00:00:01');
  assert.deepEqual([config.tls, config.insecureTls, config.finish], [false, false, 'reboot']);
  assert.equal(config.dockerRegistry, '192.168.1.1');
  assert.equal(String(config.syslogHost), '192.168.1.1');
});

/** In the order in which boots of v0.1.0 (58ab499) renders them. */
test('with the facility of the page, boots of v0.1.0 sends what the agent needs', async (t) => {
  const json = blocks.find(({ language }) => language === 'json')?.text ?? '';
  const { metadata } = z
    .object({ metadata: z.object({ facility: z.object({ facility_code: z.string() }) }) })
    .parse(JSON.parse(json));
  const id = 'ce2e62ed-826f-4485-a39f-a82bb74338e2';
  const config = await configure(t, [
    ...['ip=dhcp', 'modules=loop,squashfs,sd-mod,usb-storage', 'alpine_repo=http://x/repo', 'modloop=http://x/modloop'],
    ...['tinkerbell=http://192.168.1.1', 'parch=x86_64', 'packet_action=workflow', 'packet_state='],
    ...['docker_registry=192.168.1.1', 'grpc_authority=192.168.1.1:42113'],
    ...['grpc_cert_url=http://192.168.1.1:42114/cert', 'registry_username=admin', 'registry_password=Admin1234'],
    ...['packet_base_url=http://192.168.1.2/workflow', `worker_id=${id}`, 'packet_bootdev_mac=08:00:27:00:00:01'],
    ...`facility=${metadata.facility.facility_code}`.split(' '),
    ...['plan=', 'manufacturer=', 'slug=', 'initrd=initramfs-x86_64', 'console=tty0', 'console=ttyS1,115200'],
  ]);
  assert.equal(config.workerId, id);
  assert.equal(config.certUrl, 'http://192.168.1.1:42114/cert');
  assert.deepEqual([config.tls, config.finish, config.registryUsername], [undefined, 'reboot', 'admin']);
});
