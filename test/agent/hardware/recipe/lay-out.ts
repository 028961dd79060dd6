/** lay-out.ts NAME DIRECTORY: lays the tree of a machine out in a directory, for the reference program. */
import { layOutIn, readTree } from '../tree.ts';

const [name = '', directory = ''] = process.argv.slice(2);
await layOutIn(directory, await readTree(name));
