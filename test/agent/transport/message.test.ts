import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { toMessage } from '../../../agent/transport/message.ts';

describe('toMessage()', () => {
  it('makes one line without control characters', () => {
    assert.equal(toMessage('\u001b[31mred\u001b[0m\r\n\ttext \u0007 end\n', 200), 'red text end');
  });

  it('keeps what fits as it is and cuts the middle out of one character more', () => {
    assert.equal(toMessage('x'.repeat(200), 200), 'x'.repeat(200));
    assert.equal(toMessage('x'.repeat(201), 200), `${'x'.repeat(80)}…${'x'.repeat(119)}`);
    assert.equal(toMessage('x'.repeat(5000), 4000), `${'x'.repeat(1600)}…${'x'.repeat(2399)}`);
  });

  it('cuts no character in two and sends no half of one', () => {
    assert.equal(Array.from(toMessage('😀'.repeat(300), 200)).length, 200);
    assert.equal(toMessage('a\ud83d', 200), 'a\ufffd');
  });
});
