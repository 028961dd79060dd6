/**
 * The form in which Go's `encoding/json` compares keys that are not equal: without regard to case,
 * by Unicode's simple case folding, in which the Kelvin sign is a `k` and the long s is an `s`.
 * Source: https://pkg.go.dev/encoding/json#Unmarshal, https://pkg.go.dev/unicode#SimpleFold.
 */
export function foldName(name: string): string {
  return name
    .replaceAll('\u212A', 'k')
    .replaceAll('\u017F', 's')
    .replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
