import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Misplaced } from '../../../agent/template/problem.ts';
import { render } from '../../../agent/template/render.ts';
import { looseFields } from '../../../agent/template/value.ts';

const data = {
  name: 'text',
  other_2: 'more',
  number: 3,
  empty: '',
  Hardware: looseFields({
    Disks: ['/dev/nvme0n1', '/dev/sda', '/dev/mapper/x'],
    Interfaces: [
      {
        dhcp: {
          mac: '08:00:27:00:00:01',
          ip: { address: '10.0.0.5', netmask: '255.255.255.248' },
          name_servers: ['10.0.0.1'],
        },
      },
    ],
  }),
};

const renders: readonly (readonly [template: string, text: string])[] = [
  ['a {{.name}} b {{ .other_2 }}\n{{.name}}', 'a text b more\ntext'],
  ['{{.number}}{{.empty}}{{ "a }} b" }}{{ `c"d` }}{{ true }}{{ 4 }}', '3a }} bc"dtrue4'],
  ['a \n {{- .name -}} \n b', 'atextb'],
  ['a {{- /* {{ nothing }} */ -}} b{{/* x */}}', 'ab'],
  ['{{ index .Hardware.Disks 0 }}', '/dev/nvme0n1'],
  ['{{ formatPartition ( index .Hardware.Disks 0 ) 1 }}', '/dev/nvme0n1p1'],
  ['{{ 2 | formatPartition (index .Hardware.Disks 1) }}', '/dev/sda2'],
  ['{{ formatPartition (index .Hardware.Disks 2) 1 }}', '/dev/mapper/x'],
  ['{{ (index .Hardware.Interfaces 0).DHCP.MAC }}', '08:00:27:00:00:01'],
  ['{{ (index .Hardware.Interfaces 0).DHCP.IP.Address }}', '10.0.0.5'],
  ['{{ index (index .Hardware.Interfaces 0).DHCP.NameServers 0 }}', '10.0.0.1'],
  ['{{ netmaskToPrefixLength (index .Hardware.Interfaces 0).DHCP.IP.Netmask }}', '29'],
  ['{{ .name | quote }} {{ .name | squote }} {{ .name | upper | lower | trim }}', '"text" \'text\' text'],
  ['{{ .empty | default "none" }} {{ default "none" .name }}', 'none text'],
  ['{{ .name | b64enc }} {{ "dGV4dA==" | b64dec }}', 'dGV4dA== text'],
  ['{ {.name} } }}', '{ {.name} } }}'],
];

const refuses: readonly (readonly [template: string, at: string, message: RegExp])[] = [
  ['ab {{ .missing }}', '.missing', /^there is no value for \.missing \(give it with --set missing=…\)$/],
  ['{{ .hardware.spec }}', '.hardware', /no value for \.hardware \(give it with --hardware\)/],
  ['{{ .Hardware.Nothing }}', '.Nothing', /^there is no value for \.Nothing$/],
  ['{{ .toString }}', '.toString', /no value/],
  ['{{ .name', '{{', /not closed/],
  ['{{ if .name }}', 'if', /"if" is not understood here; what can stand here: \.name/],
  ['{{ range .x }}', 'range', /"range" is not understood/],
  ['{{ $x := 1 }}', '$x', /variables are not understood/],
  ['{{ printf "%s" .name }}', 'printf', /no function "printf"/],
  ['{{ constructor .name }}', 'constructor', /no function "constructor"/],
  ['{{ .name .name }}', '.name }}', /"\.name" is not expected here/],
  ['{{ .name | .name }}', '.name }}', /a function is expected after \|/],
  ['{{ (.name }}', ' }}', /something is missing before }}/],
  ['{{ }}', ' }}', /something is missing/],
  ['{{ quote quote .name }}', 'quote .name', /put \( \) around a function/],
  ['{{ 1.5 }}', '1.5', /"1\.5": not understood/],
  ['{{ index .Hardware.Disks 9 }}', 'index', /^index: there is no element 9: the list has 3$/],
  ['{{ index .name 0 }}', 'index', /^index: index wants a list, not a text$/],
  ['{{ index .Hardware.Disks }}', '{{', /a list is no text; name one of its elements/],
  ['{{ formatPartition .name }}', 'formatPartition', /a number is wanted, not a missing value/],
  ['{{ netmaskToPrefixLength "255.0.255.0" }}', 'netmask', /is not a netmask/],
  ['{{ .Hardware }}', '{{', /a mapping is no text/],
];

describe('render()', () => {
  for (const [template, text] of renders) {
    test(`makes ${JSON.stringify(text)} of ${JSON.stringify(template)}`, () => {
      assert.equal(render(template, data).text, text);
    });
  }

  for (const [template, at, message] of refuses) {
    test(`refuses ${template}, with its place`, () => {
      assert.throws(
        () => render(`line\n${template}`, data),
        (error) => {
          assert.ok(error instanceof Misplaced);
          assert.match(error.message, message);
          assert.equal(error.offset, 5 + template.lastIndexOf(at));
          return true;
        },
      );
    });
  }

  test('finds fields by another case only below .Hardware', () => {
    assert.throws(() => render('{{ .Name }}', data), /no value for \.Name/);
  });

  test('knows where each character came from', () => {
    const template = 'ab {{- .name -}} cd{{/* x */}}e';
    const { text, originOf } = render(template, data);
    assert.equal(text, 'abtextcde');
    assert.deepEqual(
      [...text].map((_, offset) => originOf(offset)),
      [0, 1, 3, 3, 3, 3, 17, 18, 30],
    );
  });

  test('refuses what becomes larger than servers take', () => {
    assert.throws(() => render('{{.big}}', { big: 'x'.repeat(256 * 1024 + 1) }), /larger than 262144 bytes/);
    assert.equal(render('{{.big}}', { big: 'x'.repeat(256 * 1024) }).text.length, 256 * 1024);
  });
});
