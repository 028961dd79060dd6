/** Something in a template that cannot be, and where. */
export interface Problem {
  /** From 1, in the template as it was written, before its variables were filled in. */
  readonly line: number;
  /** From 1, in characters (UTF-16 code units). */
  readonly column: number;
  readonly message: string;
}

/**
 * A template, or what it is to be filled in with, that cannot be used. The message has one line for
 * each problem.
 */
export class TemplateError extends Error {
  override readonly name = 'TemplateError';
  /** Those with a place in the template. */
  readonly problems: readonly Problem[];

  constructor(message: string, options: ErrorOptions & { readonly problems?: readonly Problem[] } = {}) {
    super(message, options);
    this.problems = options.problems ?? [];
  }

  /** The problems of a template as lines: `flatcar.yaml:7:5: …`. */
  static of(source: string, problems: readonly Problem[]): TemplateError {
    return new TemplateError(problems.map((problem) => describeProblem(source, problem)).join('\n'), { problems });
  }
}

/** As compilers write it, so that editors find the place. */
export function describeProblem(source: string, { line, column, message }: Problem): string {
  return `${source}:${line}:${column}: ${message}`;
}

/** What is wrong at an offset of a text, before lines are counted. */
export interface Diagnostic {
  /** In UTF-16 code units. */
  readonly offset: number;
  readonly message: string;
}

/** A template that cannot be filled in: it is malformed, or has no value for something. */
export class RenderError extends Error {
  override readonly name = 'RenderError';
  /** In UTF-16 code units of the template. */
  readonly offset: number;

  constructor({ offset, message }: Diagnostic) {
    super(message);
    this.offset = offset;
  }
}
