import { engineDocument, type YamlDocument } from './document.ts';
import { EngineError, type EngineRequest, type EngineResponse, type TemplateEngine } from './engine/engine.ts';
import { type Diagnostic, RenderError, TemplateError } from './problem.ts';

/** What a template is filled in with, as the controller has it for a Workflow. */
export interface TemplateData {
  /** The values of its `hardwareMap`, for `.name`. */
  readonly variables: Readonly<Record<string, string>>;
  /** Its Hardware, for `.hardware`, `.Hardware` and `.references`. */
  readonly hardware: HardwareFile | undefined;
}

/**
 * JSON or YAML: the manifest of a Hardware object, with the objects that its `spec.references`
 * names as further documents or as items of one list (`kubectl get hardware/a configmap/b -o
 * yaml`); or what `tink hardware push` took.
 */
export interface HardwareFile {
  readonly path: string;
  readonly content: string;
}

/** A template with its variables filled in, which knows where each of its characters came from. */
export interface Rendered {
  readonly text: string;
  /** The text as YAML. */
  readonly document: YamlDocument;
  /**
   * The offset in the template for one in {@link text}; for a character of a value that of its
   * `{{`.
   */
  originOf(offset: number): number;
}

/**
 * Fills in a template exactly as the current controller does.
 *
 * @throws {RenderError} for the first thing in the template that cannot be filled in
 * @throws {TemplateError} for a hardware file that cannot be used, and for a template that needs
 *   more memory than there is
 */
export function render(engine: TemplateEngine, template: string, { variables, hardware }: TemplateData): Rendered {
  const response = responseTo(engine, { template, variables, hardware: hardware?.content ?? '' });
  if ('hardwareError' in response) {
    throw new TemplateError(`cannot use the hardware file ${hardware?.path}: ${response.hardwareError}`);
  }
  if ('templateError' in response) throw new RenderError(explained(response.templateError, hardware !== undefined));
  const { text, parts, document } = response;
  return {
    text,
    document: engineDocument(document.nodes, document.errors),
    originOf: (offset) => {
      const part = parts.findLast(({ start }) => start <= offset);
      if (part === undefined) return 0;
      return part.literal ? part.origin + offset - part.start : part.origin;
    },
  };
}

function responseTo(engine: TemplateEngine, request: EngineRequest): EngineResponse {
  try {
    return engine.render(request);
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    throw new TemplateError(`the template cannot be filled in: ${error.message}`, { cause: error });
  }
}

/** Go's message without what every message has, and with what the person can do. */
function explained({ offset, message }: Diagnostic, hasHardware: boolean): Diagnostic {
  const [, expression = '', reason = ''] = /^executing "[^"]*" at <(.*?)>: (.*)$/s.exec(message) ?? [];
  if (reason === '') return { offset, message };
  const [, key] = /^map has no entry for key "(.*)"$/.exec(reason) ?? [];
  if (expression === `.${key}`) return { offset, message: `${expression}: ${reason} (give it with --set ${key}=…)` };
  const advice = !hasHardware && /\.(?:[Hh]ardware|references)\b/.test(expression) ? ' (give it with --hardware)' : '';
  return { offset, message: `${expression}: ${reason}${advice}` };
}
