/**
 * Prints JSON as PostgreSQL prints a `jsonb` column: keys by length, then by bytes; `": "` and
 * `", "` between. Source: PostgreSQL manual, 8.14 "JSON Types".
 */
export function printJsonb(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(printJsonb).join(', ')}]`;
  if (typeof value !== 'object' || value === null) return JSON.stringify(value);
  const members = Object.entries(value).sort(([a], [b]) => {
    const [left, right] = [Buffer.from(a), Buffer.from(b)];
    return left.length - right.length || left.compare(right);
  });
  return `{${members.map(([key, member]) => `${JSON.stringify(key)}: ${printJsonb(member)}`).join(', ')}}`;
}
