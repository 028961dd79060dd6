/** Filled in by the bundler (see build.ts); a run from the source tree has neither. */
declare const __NIBS_VERSION__: string | undefined;
declare const __NIBS_COMMIT__: string | undefined;

/**
 * `version`: of the package; `commit`: short git commit it was built from; `node`: the runtime it
 * runs on.
 */
export const version = {
  version: typeof __NIBS_VERSION__ === 'string' ? __NIBS_VERSION__ : 'source tree',
  commit: typeof __NIBS_COMMIT__ === 'string' ? __NIBS_COMMIT__ : 'uncommitted',
  node: process.version,
} as const;

/** One line for `--version`. */
export function versionLine(name: string): string {
  return `${name} (nibs) ${version.version}, commit ${version.commit}, Node ${version.node}\n`;
}
