import assert from 'node:assert/strict';
import { mkdtempDisposable, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { readHardware } from '../../../agent/template/hardware.ts';
import { TemplateError } from '../../../agent/template/problem.ts';
import { render } from '../../../agent/template/render.ts';
import { seedHardware } from '../../sandbox/seed.ts';

/** What a template says of hardware whose file has this content. */
async function filledIn(content: string, template: string): Promise<string> {
  await using directory = await mkdtempDisposable(join(tmpdir(), 'nibs-hardware-'));
  const path = join(directory.path, 'hardware');
  await writeFile(path, content);
  return render(template, await readHardware(path)).text;
}

const manifest = `
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: machine1}
spec:
  disks: [{device: /dev/sda}]
  interfaces:
  - dhcp: {mac: "08:00:27:00:00:01", ip: {address: 10.0.0.5}}
  userData: hello
  metadata: {instance: {id: i-1}}
`;

test('readHardware() reads the manifest of a Hardware object', async () => {
  const template =
    '{{ index .Hardware.Disks 0 }} {{ (index .Hardware.Interfaces 0).DHCP.MAC }} {{ .Hardware.UserData }}{{ .Hardware.VendorData }} {{ .Hardware.Metadata.Instance.ID }} {{ .hardware.metadata.name }}';
  assert.equal(await filledIn(manifest, template), '/dev/sda 08:00:27:00:00:01 hello i-1 machine1');
});

test('readHardware() reads what tink hardware push took', async () => {
  const machine = { id: 'a', mac: '08:00:27:00:00:01', address: '192.168.1.5' };
  const template = '{{ (index .Hardware.Interfaces 0).DHCP.IP.Gateway }} {{ .hardware.id }}';
  assert.equal(await filledIn(JSON.stringify(seedHardware(machine, '192.168.1.1')), template), '192.168.1.1 a');
});

test('readHardware() refuses what is no hardware, is no JSON, or is not there', async () => {
  await assert.rejects(filledIn('{}', ''), /it must have "spec", .*, or "network"/);
  await assert.rejects(filledIn('spec: {disks: [/dev/sda]}', ''), TemplateError);
  await assert.rejects(filledIn('{"a"', ''), /cannot read the hardware file .*hardware: /);
  await assert.rejects(
    readHardware('/none/hardware.json'),
    /cannot read the hardware file \/none\/hardware\.json: ENOENT/,
  );
});
