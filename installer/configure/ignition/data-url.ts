/**
 * Decodes a `data:` URL as Ignition does, which is stricter than browsers: no white space, no
 * unescaped `#`, `<`, `[` or non-ASCII characters, base64 with its padding. Source: RFC 2397, and
 * the grammar of https://pkg.go.dev/github.com/vincent-petithory/dataurl.
 * @returns the bytes, or the reason why it cannot be decoded
 */
export function decodeDataUrl(url: string): Buffer | string {
  const header = matchHeader(url);
  if (header === undefined) {
    return 'the data URL has no valid beginning: that is data: or data:text/plain, then ;base64 where it is so encoded, then a comma';
  }
  const data = url.slice(header.length);
  return header.endsWith(';base64,') ? decodeBase64(data) : decodeEscaped(data);
}

const token = String.raw`[!#-'*+\-.0-9A-Z^-~]`;
const value = String.raw`(?:[!#$&'*+\-.0-9A-Z^-~]|%[0-9A-Fa-f]{2})+`;
const quoted = String.raw`"(?:[^"\\]|\\[abfnrtv\\"])*"`;
const headerPattern = new RegExp(
  `^data:(?:(?:[xX]-${token}*|(?:text|image|audio|video|application|message|multipart)${token}*)/${token}*)?` +
    `(?:;${token}+=(?:${value}|${quoted}))*(?:;base64)?,`,
);

function matchHeader(url: string): string | undefined {
  return headerPattern.exec(url)?.[0];
}

function decodeBase64(data: string): Buffer | string {
  const unpadded = data.replace(/={1,2}$/, '');
  const wrong = unpadded.search(/[^A-Za-z0-9+/]/);
  if (wrong >= 0) return `the data URL is not valid base64: ${JSON.stringify(data[wrong])} at character ${wrong + 1}`;
  if (data.length % 4 !== 0) return 'the data URL is not valid base64: its length is not a multiple of 4';
  return Buffer.from(data, 'base64');
}

function decodeEscaped(data: string): Buffer | string {
  const wrong = data.search(/[^!$-;=?-Z_a-z~]|%(?![0-9A-Fa-f]{2})/);
  if (wrong < 0) return decodePercents(data);
  const at = `at character ${wrong + 1} of its data`;
  if (data[wrong] === '%') return `the data URL has a percent sign without two hexadecimal digits ${at}`;
  return `the data URL has ${JSON.stringify(data[wrong])} ${at}, which must be escaped`;
}

function decodePercents(data: string): Buffer {
  const bytes = Buffer.alloc(data.length);
  let length = 0;
  for (let index = 0; index < data.length; index++) {
    const escaped = data[index] === '%';
    bytes[length++] = escaped ? Number.parseInt(data.slice(index + 1, index + 3), 16) : data.charCodeAt(index);
    if (escaped) index += 2;
  }
  return bytes.subarray(0, length);
}
