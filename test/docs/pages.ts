import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export const root = join(import.meta.dirname, '../..');

/** A Markdown page of the repository. */
export interface Page {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
  /** The text without fenced code, comments and inline code. */
  readonly prose: string;
  /** What inline code and lines of fenced code say. */
  readonly code: readonly string[];
}

/** Every page that is committed or about to be. */
export function readPages(): Page[] {
  const list = ['ls-files', '--cached', '--others', '--exclude-standard', '*.md'];
  const paths = execFileSync('git', list, { cwd: root, encoding: 'utf8' }).trim().split('\n');
  return paths.map((path) => parsePage(path, readFileSync(join(root, path), 'utf8')));
}

function parsePage(path: string, text: string): Page {
  const code: string[] = [];
  const withoutFences = text.replace(/^```.*\n([\s\S]*?)^```$/gm, (_, body: string) => {
    code.push(...body.split('\n'));
    return '';
  });
  const prose = withoutFences.replace(/<!--[\s\S]*?-->/g, '').replace(/`([^`\n]+)`/g, (_, body: string) => {
    code.push(body);
    return '';
  });
  return { path, text, prose, code };
}

/** The anchors of a page's headings, as GitHub makes them. */
export function anchorsOf({ text }: Page): Set<string> {
  const withoutFences = text.replace(/^```[\s\S]*?^```$/gm, '');
  const headings = [...withoutFences.matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading);
  return new Set(
    headings.map((heading) =>
      heading
        .toLowerCase()
        .replace(/[^\p{L}\p{N}_ -]/gu, '')
        .replaceAll(' ', '-'),
    ),
  );
}
