import { posix } from 'node:path';
import { each, type JsonCursor } from './findings.ts';
import type { Config3, Directory3, File3, Resource } from './schema3.ts';

/** What Ignition accepts without a word, although the first boot then fails or surprises. */
export function adviseOnVersion3({ passwd, storage }: Config3, cursor: JsonCursor): void {
  for (const kind of ['users', 'groups'] as const) {
    const accounts: readonly { readonly name: string }[] = passwd[kind];
    each(accounts, cursor.at('passwd', kind), ({ name }, at) => {
      if (name === '') at.at('name').advise(`the ${kind === 'users' ? 'user' : 'group'} has no name`);
    });
  }
  each(storage.files, cursor.at('storage', 'files'), adviseOnCompression);
  const files = new Set(storage.files.map((file) => file.path));
  for (const kind of ['directories', 'files', 'links'] as const) {
    const nodes: readonly Pick<Directory3, 'path'>[] = storage[kind];
    each(nodes, cursor.at('storage', kind), ({ path }, at) => {
      const parent = posix.dirname(path);
      if (parent !== path && files.has(parent))
        at.at('path').advise(`${parent} is a file of this config, not a directory: Ignition cannot write ${path}`);
    });
  }
}

function adviseOnCompression({ append, contents }: File3, cursor: JsonCursor): void {
  const advise = ({ compression, source }: Resource, at: JsonCursor) => {
    if (compression === 'gzip' && /^(s3|arn):/i.test(source ?? ''))
      at.at('compression').advise('Ignition cannot decompress what it fetches from S3');
  };
  advise(contents, cursor.at('contents'));
  each(append, cursor.at('append'), advise);
}
