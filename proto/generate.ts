/**
 * Generates `proto/**\/*.pb.ts` from `proto/*.proto`.
 *
 *     node proto/generate.ts           writes the files
 *     node proto/generate.ts --check   writes nothing; exits 1 and names the files that differ
 *
 * Compiler (buf) and generator (ts-proto) are the exactly pinned packages of package.json, and
 * nothing is downloaded, so the same .proto gives the same bytes everywhere.
 */
import { cp, glob, mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { execa } from 'execa';

const here = import.meta.dirname;
const packages = path.join(here, '..', 'node_modules');

/**
 * How messages become TypeScript: only what the agent and the played server use, and no syntax that
 * type stripping cannot strip.
 */
const GENERATOR_OPTIONS = [
  'fileSuffix=.pb',
  'importSuffix=.ts',
  'esModuleInterop=true',
  'enumsAsLiterals=true',
  'outputServices=generic-definitions',
  'outputJsonMethods=false',
  'outputPartialMethods=false',
  'unrecognizedEnum=false',
  // Without the versions in the head of the files: the lock file has them.
  'annotateFilesWithVersion=false',
];

async function main(): Promise<number> {
  const { values } = parseArgs({ options: { check: { type: 'boolean', default: false } } });
  const generated = await mkdtemp(path.join(tmpdir(), 'proto-'));
  try {
    await generate(generated);
    if (!values.check) {
      for (const file of await listGenerated(here)) await rm(path.join(here, file));
      await cp(generated, here, { recursive: true });
      return 0;
    }
    const differences = await compare(generated, here);
    for (const difference of differences) process.stdout.write(`${difference}\n`);
    if (differences.length > 0) process.stdout.write('generate the code again with: node proto/generate.ts\n');
    return differences.length > 0 ? 1 : 0;
  } finally {
    await rm(generated, { recursive: true });
  }
}

async function generate(directory: string): Promise<void> {
  const recipe = {
    version: 'v2',
    plugins: [
      {
        local: [process.execPath, path.join(packages, 'ts-proto', 'protoc-gen-ts_proto')],
        out: directory,
        include_imports: true,
        include_wkt: true,
        opt: GENERATOR_OPTIONS,
      },
    ],
  };
  const buf = path.join(packages, '@bufbuild', 'buf', 'bin', 'buf');
  await execa(process.execPath, [buf, 'generate', here, '--template', JSON.stringify(recipe)], { stderr: 'inherit' });
}

/** One line for each file that is missing, superfluous or different in `actual`. */
async function compare(expected: string, actual: string): Promise<string[]> {
  const [wanted, present] = await Promise.all([listGenerated(expected), listGenerated(actual)]);
  const differences: string[] = [];
  for (const file of new Set([...wanted, ...present])) {
    if (!present.includes(file)) differences.push(`proto/${file} is missing`);
    else if (!wanted.includes(file)) differences.push(`proto/${file} is not generated from any .proto any more`);
    else {
      const [want, have] = await Promise.all([read(expected, file), read(actual, file)]);
      if (want !== have) differences.push(`proto/${file} differs from what its .proto generates`);
    }
  }
  return differences;
}

async function listGenerated(directory: string): Promise<string[]> {
  return (await Array.fromAsync(glob('**/*.pb.ts', { cwd: directory }))).sort();
}

function read(directory: string, file: string): Promise<string> {
  return readFile(path.join(directory, file), 'utf8');
}

process.exitCode = await main();
