import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { TemplateEngine } from '../../../agent/template/engine/engine.ts';
import { RenderError, TemplateError } from '../../../agent/template/problem.ts';
import { render } from '../../../agent/template/render.ts';
import { seedHardware } from '../../sandbox/seed.ts';

const engine = await TemplateEngine.load();

const manifest = `
apiVersion: tinkerbell.org/v1alpha1
kind: Hardware
metadata: {name: machine1, namespace: default}
spec:
  disks: [{device: /dev/sda}]
  interfaces:
  - dhcp: {mac: "08:00:27:00:00:01", ip: {address: 10.0.0.5}}
  userData: hello
  metadata: {instance: {id: i-1}}
  references: {config: {version: v1, resource: configmaps, name: settings, namespace: default}}
`;
const settings = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\ndata: {mirror: http://mirror}\n';

interface Given {
  readonly variables?: Readonly<Record<string, string>>;
  /** Content of the hardware file. */
  readonly hardware?: string;
}

function rendered(template: string, { variables = {}, hardware }: Given = {}) {
  const file = hardware === undefined ? undefined : { path: 'hardware.yaml', content: hardware };
  return render(engine, template, { variables, hardware: file });
}

function textOf(template: string, given: Given = {}): string {
  return rendered(template, given).text;
}

describe('render()', () => {
  test('knows where each character came from', () => {
    const template = 'aß {{- .name -}} 🚀d{{/* x */}}{{ if true }}e{{ .name }}{{ end }}';
    const { text, originOf } = rendered(template, { variables: { name: 'é𝒳' } });
    assert.equal(text, 'aßé𝒳🚀deé𝒳');
    const origins = Array.from({ length: text.length }, (_, offset) => originOf(offset));
    assert.deepEqual(origins, [0, 1, 3, 3, 3, 17, 18, 19, 44, 45, 45, 45]);
  });

  test('knows that for what stands in another template, and for a value of many pieces', () => {
    const template = '{{define "t"}}x{{.}}{{end}}{{range $v := list 1 2}}{{template "t" $v}}{{end}}';
    const { text, originOf } = rendered(template);
    assert.equal(text, 'x1x2');
    assert.deepEqual([0, 1, 2, 3].map(originOf), [14, 15, 14, 15]);
  });

  test('reads the manifest of a Hardware object', () => {
    const template =
      '{{ index .Hardware.Disks 0 }} {{ (index .Hardware.Interfaces 0).DHCP.MAC }} {{ .Hardware.UserData }}{{ .Hardware.VendorData }} {{ .Hardware.Metadata.Instance.ID }} {{ .hardware.metadata.name }}';
    assert.equal(textOf(template, { hardware: manifest }), '/dev/sda 08:00:27:00:00:01 hello i-1 machine1');
  });

  test('has nothing for unset fields below .Hardware, and refuses those that do not exist', () => {
    const given = { hardware: manifest };
    assert.equal(textOf('{{ with index .Hardware.Interfaces 0 }}{{ .DHCP.IP.Gateway }}{{ end }}', given), '');
    assert.throws(() => textOf('{{ .Hardware.Disk }}', given), /can't evaluate field Disk/);
    assert.throws(() => textOf('{{ .hardware.spec.vendorData }}', given), /no entry for key "vendorData"/);
  });

  test('finds what the hardware refers to, in the same file', () => {
    const template = '{{ .references.config.data.mirror }}';
    assert.equal(textOf(template, { hardware: `${settings}---${manifest}` }), 'http://mirror');
    const list = JSON.stringify({
      kind: 'List',
      items: [
        { spec: { references: { config: { version: 'v1', resource: 'configmaps', name: 'settings' } } } },
        { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'settings' }, data: { mirror: 'b' } },
      ],
    });
    assert.equal(textOf(template, { hardware: list }), 'b');
    assert.throws(() => textOf(template, { hardware: manifest }), /map has no entry for key "config"/);
  });

  test('reads what tink hardware push took', () => {
    const machine = { id: 'a', mac: '08:00:27:00:00:01', address: '192.168.1.5' };
    const hardware = JSON.stringify(seedHardware(machine, '192.168.1.1'));
    const template = '{{ (index .Hardware.Interfaces 0).DHCP.IP.Gateway }} {{ .hardware.id }}';
    assert.equal(textOf(template, { hardware }), '192.168.1.1 a');
  });

  test('refuses a file that is no hardware, or is no YAML', () => {
    const refused = (hardware: string, message: RegExp) => {
      assert.throws(
        () => textOf('', { hardware }),
        (error) => error instanceof TemplateError && message.test(error.message),
      );
    };
    refused('{}', /^cannot use the hardware file hardware\.yaml: it must have "spec", .*, or "network"/);
    refused(settings, /it must have "spec"/);
    refused('spec: {disks: [/dev/sda]}', /cannot unmarshal string into Go struct field .*disks/);
    refused('{"a"', /it is no YAML: /);
  });

  test('says what the person can do about a missing value', () => {
    const says = (template: string, message: string, given: Given = {}) => {
      assert.throws(
        () => textOf(template, given),
        (error) => error instanceof RenderError && error.message === message,
      );
    };
    says('{{ .disk }}', '.disk: map has no entry for key "disk" (give it with --set disk=…)');
    const index = 'index .Hardware.Disks 0: error calling index: reflect: slice index out of range';
    says('{{ index .Hardware.Disks 0 }}', `${index} (give it with --hardware)`);
    says('{{ index .Hardware.Disks 0 }}', index, { hardware: 'spec: {}' });
    says('{{ .references.x }}', '.references.x: map has no entry for key "x" (give it with --hardware)');
  });

  test('refuses what becomes larger than servers take', () => {
    assert.equal(textOf('{{.big}}', { variables: { big: 'x'.repeat(256 * 1024) } }).length, 256 * 1024);
    const big = { variables: { big: 'ü'.repeat(128 * 1024) } };
    assert.throws(
      () => textOf('{{.big}} ', big),
      (error) => error instanceof RenderError && error.offset === 8 && /exceeds 262144 bytes/.test(error.message),
    );
  });

  test('reaches no file, no environment and no network', () => {
    for (const name of ['env "PATH"', 'expandenv "$PATH"', 'getHostByName "localhost"', 'now', 'uuidv4']) {
      assert.throws(() => textOf(`{{ ${name} }}`), /function "\w+" not defined/);
    }
  });

  test('breaks off a template that needs more memory than there is', async () => {
    const broken = await TemplateEngine.load();
    assert.throws(
      () => render(broken, '{{ repeat 2147000000 "xx" }}', { variables: {}, hardware: undefined }),
      (error) => error instanceof TemplateError && /out of memory/.test(error.message),
    );
  });
});
