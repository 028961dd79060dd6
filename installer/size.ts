const units: Readonly<Record<string, number>> = {
  '': 1,
  ...{ kB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 },
  ...{ KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 },
};

/**
 * Parses a size such as `20GB` or `16GiB`; a number without a unit is bytes.
 * @returns bytes; undefined if it is no size
 */
export function parseBytes(text: string): number | undefined {
  const [, number = '', unit = ''] = /^(\d+(?:\.\d+)?) ?(\w*)$/.exec(text) ?? [];
  const factor = Object.hasOwn(units, unit) ? units[unit] : undefined;
  return number === '' || factor === undefined ? undefined : Math.round(Number(number) * factor);
}
