import { z } from 'zod';

/** A heading in `--help`. */
export type Group = 'Server' | 'Without a server' | 'Registry and engine' | 'Behaviour' | 'Files and log' | 'Proxies';

/** Names and help of a setting. In each list of names a later one wins over an earlier one. */
export interface Names {
  readonly group: Group;
  /** In lower case with dashes. It is the preferred flag. */
  readonly name: string;
  readonly description: string;
  /** What a value looks like; `undefined` for a switch. */
  readonly value: string | undefined;
  /** Long flags without dashes, the name first; also keys of the configuration file. */
  readonly flags: readonly [string, ...string[]];
  /** One-letter flag. */
  readonly letter: string | undefined;
  /** Environment variables: those of other programs, then `NIBS_` and the name. */
  readonly environment: readonly [...string[], string];
  /** Keys on the kernel command line: those of other programs, then `nibs_` and the name. */
  readonly kernel: readonly [...string[], string];
  /**
   * The flag may be repeated: the values arrive with `repetition` (values.ts) between them. False:
   * the last one counts.
   */
  readonly repeatable: boolean;
}

/**
 * A setting as the table has it: `flags`, `environment` and `kernel` list only names from other
 * programs.
 */
interface Entry {
  readonly name: string;
  readonly description: string;
  /** Default: it is a switch. */
  readonly value?: string;
  readonly flags?: readonly string[];
  readonly letter?: string;
  readonly environment?: readonly string[];
  readonly kernel?: readonly string[];
  readonly repeatable?: true;
}

const registry = z.registry<Names>();

/** Makes the function that adds names and help to the type of a setting. */
export function settingsOf(group: Group): <Type extends z.ZodType>(type: Type, entry: Entry) => Type {
  return (
    type,
    { name, description, value, flags = [], letter, environment = [], kernel = [], repeatable = false },
  ) => {
    const ownName = `nibs_${name.replaceAll('-', '_')}`;
    registry.add(type, {
      ...{ group, name, description, value, letter, repeatable },
      flags: [name, ...flags],
      environment: [...environment, ownName.toUpperCase()],
      kernel: [...kernel, ownName],
    });
    return type;
  };
}

/** @throws {Error} the type was made without {@link settingsOf} */
export function namesOf(key: string, type: z.ZodType): Names {
  const names = registry.get(type);
  if (names === undefined) throw new Error(`the setting ${key} has no names`);
  return names;
}
