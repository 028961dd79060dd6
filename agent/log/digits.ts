/** Value of a character of Base64, also of the alphabet for URLs; -1: none (RFC 4648, 4 and 5). */
export const sextets = tableOf('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/', 'base64');
/** Value of a hexadecimal digit; -1: none. */
export const nibbles = tableOf('0123456789abcdef', 'hex');

function tableOf(alphabet: string, kind: 'base64' | 'hex'): Int8Array {
  const table = new Int8Array(256).fill(-1);
  for (const [value, character] of [...alphabet].entries()) {
    table[character.charCodeAt(0)] = value;
    if (kind === 'hex') table[character.toUpperCase().charCodeAt(0)] = value;
  }
  if (kind === 'base64') {
    table['-'.charCodeAt(0)] = 62;
    table['_'.charCodeAt(0)] = 63;
  }
  return table;
}
