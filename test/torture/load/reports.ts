/** What a server must have recorded of a workflow that succeeded: each report once, in order. */
export function expectedReports(names: readonly string[]): readonly string[] {
  return names.flatMap((name) => [`${name} RUNNING`, `${name} SUCCESS`]);
}

/**
 * Where the reports differ from those expected.
 * @returns the violation in words; `undefined`: they are the same
 */
export function reportsViolation(
  events: readonly { readonly actionName: string; readonly progress: string }[],
  names: readonly string[],
): string | undefined {
  const expected = expectedReports(names);
  const recorded = events.map(({ actionName, progress }) => `${actionName} ${progress}`);
  for (let index = 0; index < Math.max(expected.length, recorded.length); index++) {
    if (recorded[index] === expected[index]) continue;
    return `report ${index + 1} is ${recorded[index] ?? 'missing'}, and not ${expected[index] ?? 'the end'}`;
  }
  return undefined;
}
