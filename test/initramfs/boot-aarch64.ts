/** The boot image and the action image for aarch64, in an emulated machine with UEFI and ACPI. */
import { deepEqual, equal, match } from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdtempDisposable } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test } from 'node:test';
import { enrol } from '../sandbox/agent-under-test/enrol.ts';
import type { ConsoleLine } from '../sandbox/console.ts';
import { startMachine } from '../sandbox/machine.ts';
import { readOciArchive } from '../sandbox/oci-archive.ts';
import { whileProgressing } from '../sandbox/progress-limits.ts';
import { startRegistry } from '../sandbox/registry.ts';
import { MACHINE_ONE } from '../sandbox/tink-server/example.ts';
import { startTinkServer } from '../sandbox/tink-server/server.ts';

const build = resolve(import.meta.dirname, '../../build');

/** This machine's loopback as a machine on QEMU's own network sees it. */
const host = '10.0.2.2';

test('an aarch64 machine starts by UEFI, runs an action of an aarch64 image, and its end is acknowledged', {
  timeout: 3_600_000,
}, async () => {
  await using scratch = await mkdtempDisposable(join(tmpdir(), 'nibs-aarch64-'));
  await using registry = await startRegistry({ address: '127.0.0.1', names: [host] });
  await registry.push('flatcar-install', await readOciArchive(made('flatcar-install-aarch64.oci.tar', 'images')));
  await using server = await startTinkServer({ dialect: 'v0.1', address: '127.0.0.1', names: [host, '127.0.0.1'] });
  const { workerId, authority, certificateUrl = '' } = enrol(server);
  const workflow = server.createWorkflow(server.createTemplate('example', template), { machine1: MACHINE_ONE.mac });

  const seen = (address: string) => address.replace('127.0.0.1', host);
  const settings = [
    `worker_id=${workerId} grpc_authority=${seen(authority)} grpc_cert_url=${seen(certificateUrl)}`,
    `docker_registry=${host}:${registry.port} registry_username=${registry.username}`,
    `registry_password=${registry.password} packet_base_url=${seen(registry.authorityUrl).replace('/ca.pem', '')}`,
  ];
  await using machine = await startMachine({
    name: 'machine',
    directory: scratch.path,
    architecture: 'aarch64',
    boot: {
      kind: 'kernel',
      kernel: made('vmlinuz-aarch64', 'initramfs'),
      initramfs: made('initramfs-aarch64', 'initramfs'),
      commandLine: `console=ttyAMA0 nibs_shell ${settings.join(' ')}`,
    },
    cards: [{ mac: MACHINE_ONE.mac, network: { kind: 'user', reachesHost: true } }],
    watchdog: true,
    endsOnReboot: true,
  });
  const wait = (pattern: RegExp, after?: ConsoleLine) =>
    whileProgressing(machine, {}, (signal) =>
      machine.console.waitForLine(pattern, { signal, ...(after !== undefined && { after }) }),
    );
  await wait(/EFI stub: Booting Linux/);
  await wait(/nibs: agent starts/);
  const ran = await wait(/machine type aarch64, flatcar-install \(nibs\)/);
  const events = await whileProgressing(machine, {}, (signal) =>
    server.waitFor(workflow, (all) => all.some(({ status }) => status !== 'ACTION_IN_PROGRESS'), Infinity, signal),
  );
  deepEqual(
    events.map(({ actionName, status }) => `${actionName} ${status}`),
    ['look ACTION_IN_PROGRESS', 'look ACTION_SUCCESS'],
  );

  machine.type('\necho "firm""ware: $(ls -d /sys/firmware/efi /sys/firmware/acpi | xargs)"\n');
  match((await wait(/firmware: /, ran)).text, /acpi .*efi/);
  machine.type('until pidof acpid; do sleep 0.1; done; pidof watchdog && echo "ready ""now"\n');
  await wait(/ready now/, ran);
  await machine.monitor.command('system_powerdown');
  await wait(/nibs: shutting down/, ran);
  equal(await machine.exited, 0);
});

const template = JSON.stringify({
  version: '0.1',
  name: 'example',
  global_timeout: 3600,
  tasks: [
    {
      name: 'provision',
      worker: '{{.machine1}}',
      actions: [
        {
          name: 'look',
          image: 'flatcar-install',
          timeout: 1800,
          command: ['sh', '-c', 'echo "machine type $(uname -m), $(flatcar-install --version)"'],
        },
      ],
    },
  ],
});

function made(name: string, target: string): string {
  const path = join(build, name);
  if (existsSync(path)) return path;
  throw new Error(`${path} is not there (make ${target} ARCH=aarch64 makes it)`);
}
