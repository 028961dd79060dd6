import { z } from 'zod';
import { type Dialect, dialect2, dialect3 } from './dialect.ts';
import { type Findings, JsonCursor } from './json-cursor.ts';
import { checkVersion1 } from './rules1.ts';
import { checkVersion2 } from './rules2.ts';
import { checkVersion3 } from './rules3.ts';
import { fitToVersion } from './schema.ts';
import { version1 } from './schema1.ts';
import { version2 } from './schema2.ts';
import { version3 } from './schema3.ts';

/** One version of Ignition's configuration format. */
export interface IgnitionVersion {
  /** As in configs; `1` for the format before the key `ignition.version` existed. */
  readonly name: string;
  /** Adds all findings about parsed JSON. */
  readonly check: (config: unknown, findings: Findings) => void;
}

/**
 * Every version that the Ignition of a current Flatcar reads: 1 and 2 are translated at first boot.
 * Source: https://coreos.github.io/ignition/specs/ and Flatcar's patches to Ignition.
 */
const known: readonly IgnitionVersion[] = [
  define('1', { ...dialect2(0), major: 1 }, version1, checkVersion1),
  ...[0, 1, 2, 3, 4].map((minor) => define(`2.${minor}.0`, dialect2(minor), version2, checkVersion2)),
  ...[0, 1, 2, 3, 4, 5, 6].map((minor) => define(`3.${minor}.0`, dialect3(minor), version3, checkVersion3)),
];

/** The newest stable version known here. */
export const newestVersion = '3.6.0';

function define<S extends z.ZodType>(
  name: string,
  dialect: Dialect,
  schema: S,
  checkRules: (config: z.infer<S>, dialect: Dialect, cursor: JsonCursor) => void,
): IgnitionVersion {
  return {
    name,
    check(config, findings) {
      const top = new JsonCursor(findings);
      const parsed = schema.safeParse(fitToVersion(config, schema, dialect, top));
      if (parsed.success) return checkRules(parsed.data, dialect, top);
      for (const issue of parsed.error.issues) {
        const path = issue.path.map((key) => (typeof key === 'number' ? key : String(key)));
        top.at(...path).error(issue.message.replace(/^Invalid input: /, ''));
      }
    },
  };
}

export function findVersion(name: string): IgnitionVersion | undefined {
  return known.find((version) => version.name === name);
}

const header = z.object({
  ignition: z.object({ version: z.string().optional() }).optional(),
  ignitionVersion: z.int().optional(),
});

/** The version that a config of any version names; undefined if it names none. */
export function readVersion(config: unknown): string | undefined {
  const ignored = new JsonCursor({ errors: [], warnings: [] });
  const { data } = header.safeParse(fitToVersion(config, header, { major: 0, minor: 0 }, ignored));
  return data?.ignitionVersion === 1 ? '1' : data?.ignition?.version;
}

/** Whether it is a newer 3.x than this program knows; the image may support it. */
export function isNewerVersion3(name: string): boolean {
  const minor = /^3\.(\d+)\.0(-experimental)?$/.exec(name)?.[1];
  return minor !== undefined && findVersion(name) === undefined && Number(minor) > 6;
}

/** For messages. */
export function describeVersions(): string {
  return '2.0.0 to 2.4.0 and 3.0.0 to 3.6.0';
}
