import { equal, throws } from 'node:assert/strict';
import { test } from 'node:test';
import { grubWords } from '../../../initramfs/boot-media/grub-words.ts';

test('grubWords() keeps GRUB from reading special characters of kernel arguments', () => {
  equal(grubWords('a=1  b=$x;y'), `'a=1' 'b=$x;y'`);
  equal(grubWords(''), '');
});

test('grubWords() keeps spaces between double quotes, as the kernel does', () => {
  equal(grubWords('a="x y" b "c=d e"'), `'a=x y' 'b' 'c=d e'`);
});

test('grubWords() refuses what GRUB would change', () => {
  for (const text of ["a='b'", 'a=\\b', 'a\nb']) throws(() => grubWords(text), /cannot contain/);
});
