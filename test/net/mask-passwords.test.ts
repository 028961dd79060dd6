import assert from 'node:assert/strict';
import { test } from 'node:test';
import { maskPasswords } from '../../net/mask-passwords.ts';

test('maskPasswords() masks users and passwords of URLs, and parameters that give access', () => {
  const cases = {
    'get http://bob:hunter22@mirror/x or https://ghp_1@host/y': 'get http://bob:***@mirror/x or https://***@host/y',
    'get http://bob:hunt@er22@mirror/x or http://bob:hunt/er22@mirror/x':
      'get http://bob:***@mirror/x or http://bob:***@mirror/x',
    'get http://bob:hunter22@mirror?mail=a@b': 'get http://bob:***@mirror?mail=a@b',
    'get http://mirror:5000/x@y or http://[fd00::1]:80/x@y': 'get http://mirror:5000/x@y or http://[fd00::1]:80/x@y',
    'https://s3/x.ign?X-Amz-Signature=abc&X-Amz-Date=1&token=t':
      'https://s3/x.ign?X-Amz-Signature=***&X-Amz-Date=1&token=***',
    'mail bob@example.com, http://mirror/x?y=z': 'mail bob@example.com, http://mirror/x?y=z',
  };
  for (const [text, masked] of Object.entries(cases)) assert.equal(maskPasswords(text), masked);
});

test('maskPasswords() leaves JSON what it is', () => {
  const event = { message: 'http://bob:hun"ter\\22@mirror/?token=a"b', other: '://x@' };
  assert.deepEqual(Object.keys(JSON.parse(maskPasswords(JSON.stringify(event)))), ['message', 'other']);
});
