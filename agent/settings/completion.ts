import { Option } from 'commander';
import { z } from 'zod';
import { completionScript, type Shell } from '../../completion/script.ts';
import { createCommand } from './arguments.ts';
import { schema, settings } from './settings.ts';

/** The text of `--completion`. A flag is offered under its preferred name. */
export function completionText(program: string, shell: Shell): string {
  const suggestions = settings.flatMap(({ key, names }) => {
    const words = wordsOf(schema.shape[key]);
    return words === undefined ? [] : [[new Option(`--${names.flags[0]}`).attributeName(), words] as const];
  });
  const commands = { doctor: [], explain: settings.map(({ names }) => names.flags[0]) };
  return completionScript(shell, createCommand(program), Object.fromEntries(suggestions), commands);
}

/** The words that a setting may be, if it is one of a list. */
function wordsOf(type: z.core.$ZodType): readonly string[] | undefined {
  if (type instanceof z.ZodEnum) return type.options.map(String);
  if (type instanceof z.ZodDefault || type instanceof z.ZodOptional) return wordsOf(type.unwrap());
  return type instanceof z.ZodPipe ? wordsOf(type.out) : undefined;
}
