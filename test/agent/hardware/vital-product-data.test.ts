import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  parseIdentifyData,
  parseUnitIdentifiers,
  parseUnitSerial,
} from '../../../agent/hardware/vital-product-data.ts';

const bytes = (hexadecimal: string) => Buffer.from(hexadecimal.replaceAll(' ', ''), 'hex');

/** A page with its header: device type, page, length of the rest. */
function page(number: string, rest: string): Buffer {
  const content = bytes(rest);
  return Buffer.concat([bytes(`00${number}`), Buffer.from([content.length >> 8, content.length & 0xff]), content]);
}

const naa5 = '01 03 00 08 5000c500a0b0c0d3';
const naa6 = '01 03 00 10 6d0946600aabbcc0001122334455667 7';
const portName = '61 93 00 08 5000c500a0b0c0d1';
const vendorName = '02 01 00 10 53454147415445205a43313030303031';

for (const [title, rest, expected] of [
  ['a name with an extension', naa6, { serial: '6d0946600aabbcc00011223344556677' }],
  [
    'the one with an extension before the one without',
    `${naa5} ${naa6}`,
    { serial: '6d0946600aabbcc00011223344556677' },
  ],
  ["the unit's, not its port's", `${portName} ${naa5}`, { serial: '5000c500a0b0c0d3' }],
  ['a name before the words of the vendor', `${vendorName} ${naa5}`, { serial: '5000c500a0b0c0d3' }],
] as const) {
  test(`parseUnitIdentifiers() takes ${title}`, () => {
    assert.deepEqual(parseUnitIdentifiers(page('83', rest)), { ...expected, wwn: `0x${expected.serial}` });
  });
}

test('parseUnitIdentifiers() takes the words of the vendor, which are unique nowhere, where there is nothing better', () => {
  assert.deepEqual(parseUnitIdentifiers(page('83', vendorName)), { serial: 'SEAGATE ZC100001', wwn: undefined });
});

test('parseUnitIdentifiers() finds nothing in a page that is empty, cut off or only of ports', () => {
  for (const rest of ['', '01 03 00', '01 03 00 08', portName]) {
    assert.equal(parseUnitIdentifiers(page('83', rest)), undefined, rest);
  }
});

test('parseUnitSerial() gives the number without the spaces around it', () => {
  assert.equal(parseUnitSerial(page('80', '20 20 5a4331 30 20 20')), 'ZC10');
  assert.equal(parseUnitSerial(bytes('0080')), '');
});

test('parseIdentifyData() knows nothing of a page that is cut off', () => {
  const { model, serial, wwn } = parseIdentifyData(Buffer.alloc(100));
  assert.deepEqual([model, serial, wwn], ['', '', undefined]);
});
