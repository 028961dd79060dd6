/**
 * lay-out.ts NAME DIRECTORY: writes the tree of a machine to a directory, for the reference
 * program.
 */
import { layOutIn, readTree } from '../tree.ts';

const [name = '', directory = ''] = process.argv.slice(2);
await layOutIn(directory, await readTree(name));
