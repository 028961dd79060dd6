/**
 * Bundles the agent and the installer into one executable that needs nothing but glibc 2.28 or
 * newer, with GCC's libgcc_s (docs/executable.md).
 *
 * `node executable/build.ts [--output build] [--arch x86_64|aarch64] [--version 1.2.3]` writes
 * `build/nibs-linux-x64` or `build/nibs-linux-arm64`, its bill of materials beside it
 * (`….spdx.json`), and for the architecture of this machine the
 * links by which its programs are called. The version is that of package.json unless another is
 * given. The base is the pinned Node from the npm registry, which
 * also runs the tests: the version that was tested is the version that is shipped.
 */
import { chmod, copyFile, lstat, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { basename, dirname, join, parse, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { type BuildOptions, build, type Metafile, type Plugin } from 'esbuild';
import { engineFile } from '../agent/template/engine/engine.ts';
import { threadFile } from '../agent/transport/nats/read-list.ts';
import { type Architecture, architectureOf, hostArchitecture } from '../debian/architecture.ts';
import { decompressPlugin } from '../installer/decompress/esbuild-plugin.ts';
import { keyFileName } from '../installer/signing-key.ts';
import { billPath } from '../sbom/sbom.ts';
import { lockFile } from '../tools/file-lock.ts';
import { runTool } from '../tools/run-tool.ts';
import { billOfMaterials } from './bill-of-materials.ts';
import { linkLibrary } from './elf/link-library.ts';
import { fetchLibstdcxx } from './libstdcxx.ts';
import { copyNode } from './node-base.ts';
import { nodeOptions } from './node-options.ts';
import { bundleOf, PACKAGES_APART } from './packages-apart.ts';
import { productVersion, sourceCommit } from './source-version.ts';
import { trimNode } from './trim/trim-node.ts';

const root = resolve(import.meta.dirname, '..');
const programs = ['tink-agent', 'tink-worker', 'flatcar-install', 'image2disk'];

/**
 * Where the bundle lies while the executable is made. Node writes this path into the executable, so
 * it must not depend on where the repository was cloned: same inputs, same bytes. One build at a
 * time has it.
 */
const bundleDirectory = '/tmp/nibs-executable';

/**
 * The engine is never reached over SSH, but dockerode loads a client for that at its start, which
 * costs some MB of memory.
 */
const withoutSsh: Plugin = {
  name: 'without-ssh',
  setup(builder) {
    const contents =
      'module.exports = () => { throw new Error("this build has no SSH: name a socket or a TCP address"); };';
    builder.onLoad({ filter: /\/docker-modem\/lib\/ssh\.js$/ }, () => ({ contents }));
  },
};

/**
 * The disks of Windows, whose texts come in a hundred encodings, are listed by a part of
 * node-disk-info that is half a megabyte.
 */
const withoutWindows: Plugin = {
  name: 'without-windows',
  setup(builder) {
    builder.onLoad({ filter: /\/node-disk-info\/dist\/platforms\/windows\.js$/ }, () => ({
      contents: 'exports.Windows = class {};',
    }));
  },
};

/**
 * gRPC compiles the descriptions of its statistics services with it, which the agent does not use;
 * with protobufjs it is 200 kB.
 */
const withoutProtoLoader: Plugin = {
  name: 'without-proto-loader',
  setup(builder) {
    const contents =
      'exports.loadSync = () => { throw new Error("this build does not read .proto files: its code is generated"); };';
    builder.onLoad({ filter: /\/@grpc\/proto-loader\/build\/src\/index\.js$/ }, () => ({ contents }));
  },
};

/** Schemas explain themselves in English; zod brings some fifty further languages along. */
const onlyEnglish: Plugin = {
  name: 'only-english',
  setup(builder) {
    builder.onLoad({ filter: /\/zod\/v4\/locales\/index\.js$/ }, ({ path }) => ({
      contents: "export { default as en } from './en.js';",
      resolveDir: dirname(path),
    }));
  },
};

const bundling = {
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node24',
  minify: true,
  keepNames: true,
  // All characters outside ASCII are escaped: a text of one byte a character takes half the memory.
  charset: 'ascii',
  legalComments: 'none',
  absWorkingDir: root,
  logLevel: 'warning',
  metafile: true,
} as const satisfies BuildOptions;

await main();

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      output: { type: 'string', default: join(root, 'build') },
      arch: { type: 'string', default: hostArchitecture.name },
      version: { type: 'string', default: await productVersion() },
    },
  });
  const architecture = architectureOf(values.arch);
  const output = resolve(values.output);
  await mkdir(output, { recursive: true });
  const executable = join(output, `nibs-linux-${architecture.node}`);
  await makePrivateDirectory(bundleDirectory);
  await using _ = await lockFile(join(bundleDirectory, 'lock'), {
    onWait: () => process.stderr.write(`another build is at work in ${bundleDirectory}: waiting for its end\n`),
  });

  const bundles = await bundleSources(values.version);
  await makeExecutable(bundles, architecture, executable);
  const bill = await billOfMaterials(basename(executable), await readFile(executable), bundles.metafiles, architecture);
  await writeFile(billPath(executable), bill);
  if (architecture === hostArchitecture) await linkNames(executable, output);
  process.stdout.write(`${executable}\n`);
}

/**
 * Its path is known: another user could have made it, and would then have a say in what is built.
 * @throws {Error} it is not a directory of this user alone
 */
async function makePrivateDirectory(path: string): Promise<void> {
  await mkdir(path, { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error;
  });
  const found = await lstat(path);
  if (!found.isDirectory() || found.uid !== process.getuid?.())
    throw new Error(`cannot build in ${path}: it is not a directory of this user (remove it)`);
  await chmod(path, 0o700);
}

/** Paths of files in CommonJS, the format of single executables. */
interface Bundles {
  readonly main: string;
  /**
   * The programs and the packages apart, read by bundles.ts, and the template engine: read under
   * these names.
   */
  readonly assets: Readonly<Record<string, string>>;
  /** What is in them. */
  readonly metafiles: readonly Metafile[];
}

async function bundleSources(version: string): Promise<Bundles> {
  const { metafile } = await build({
    entryPoints: {
      main: join(root, 'executable/main.ts'),
      agent: join(root, 'agent/main.ts'),
      installer: join(root, 'installer/main.ts'),
      ...Object.fromEntries(
        PACKAGES_APART.map((name) => [parse(bundleOf(name)).name, fileURLToPath(import.meta.resolve(name))]),
      ),
    },
    outdir: bundleDirectory,
    outExtension: { '.js': '.cjs' },
    ...bundling,
    // Native add-ons that a dependency of dockerode loads when they are there, and does without
    // when they are not.
    external: ['cpu-features', '*.node', ...PACKAGES_APART],
    // The programs are no modules: what is external to them comes from the `require` that they are
    // given.
    supported: { 'dynamic-import': false },
    define: {
      __NIBS_VERSION__: JSON.stringify(version),
      __NIBS_COMMIT__: JSON.stringify(await sourceCommit()),
      __NIBS_SIGNING_KEY__: JSON.stringify(await signingKey()),
      'import.meta.url': '__nibsModuleUrl',
      'import.meta.dirname': '__dirname',
    },
    banner: { js: "const __nibsModuleUrl = require('node:url').pathToFileURL(__filename).href;" },
    plugins: [decompressPlugin(), withoutSsh, withoutWindows, withoutProtoLoader, onlyEnglish],
  });
  const metafiles = [metafile, await bundleThread()];
  const assets = ['agent.cjs', 'installer.cjs', ...PACKAGES_APART.map(bundleOf)];
  return {
    main: join(bundleDirectory, 'main.cjs'),
    metafiles,
    assets: {
      ...Object.fromEntries(assets.map((name) => [name, join(bundleDirectory, name)])),
      [threadFile]: join(bundleDirectory, threadFile),
      [engineFile]: join(root, 'agent/template/engine', engineFile),
    },
  };
}

/**
 * The thread that reads lists of actions: a bundle with all its packages, because it has no others.
 */
async function bundleThread(): Promise<Metafile> {
  const { metafile } = await build({
    entryPoints: [join(root, 'agent/transport/nats/read-list-thread.ts')],
    outfile: join(bundleDirectory, threadFile),
    ...bundling,
  });
  return metafile;
}

/**
 * The armoured OpenPGP key to trust images by: Flatcar's, or that in the file which `SIGNING_KEY`
 * names.
 */
async function signingKey(): Promise<string> {
  return await readFile(process.env['SIGNING_KEY'] || join(root, 'installer', keyFileName), 'utf8');
}

/**
 * Puts the bundles, and the C++ library that Node needs, into a copy of the Node that runs this
 * script, or of the same version for another architecture.
 */
async function makeExecutable(
  { main, assets }: Bundles,
  architecture: Architecture,
  executable: string,
): Promise<void> {
  // The file is imported by its path inside the package: the package's front door starts with a
  // walk over node_modules that a bundle does not need.
  const require = createRequire(import.meta.url);
  const { default: makeSingleExecutable }: { default: SingleExecutableMaker } = require('@yao-pkg/pkg/lib-es5/sea.js');
  const base = join(bundleDirectory, 'node');
  await copyNode(architecture, base);
  await runTool(`${architecture.gnu}-strip`, ['--strip-unneeded', base]);
  const node = await readFile(base);
  trimNode(node);
  await writeFile(base, node);
  // Written aside and moved into place: a link to a half-written executable must never be started.
  const unfinished = `${executable}.unfinished`;
  const made = join(bundleDirectory, 'nibs');
  await makeSingleExecutable(main, {
    nodePath: base,
    // The resource is made by the Node that runs this, which is of the same version. Without a
    // snapshot and a code cache it is the same for each architecture.
    useLocalNode: true,
    // A code cache would start it 50 ms earlier, but is not the same bytes each time.
    seaConfig: {
      ...{
        disableExperimentalSEAWarning: true,
        useSnapshot: false,
        useCodeCache: false,
        assets,
        execArgv: nodeOptions,
      },
      // NODE_OPTIONS could load code or open a debugger.
      execArgvExtension: 'none',
    },
    targets: [{ nodeRange: 'node24', platform: 'linux', arch: architecture.node, output: made }],
  });
  const library = await fetchLibstdcxx(architecture.node, join(root, 'build/cache/packages'));
  const linked = join(bundleDirectory, 'linked');
  await writeFile(linked, linkLibrary(await readFile(made), library));
  // A copy, because it was written in one go: a file that the kernel caches in large pieces is also
  // mapped in large pieces, and a process that runs it then has some 17 MB more resident than it
  // uses.
  await copyFile(linked, unfinished);
  await chmod(unfinished, 0o755);
  await rename(unfinished, executable);
}

/** The part of pkg's single-executable mode that is used here (lib-es5/sea.d.ts). */
type SingleExecutableMaker = (
  entryPoint: string,
  options: {
    nodePath: string;
    useLocalNode: boolean;
    seaConfig: {
      disableExperimentalSEAWarning: boolean;
      useSnapshot: boolean;
      useCodeCache: boolean;
      assets: Readonly<Record<string, string>>;
      execArgv: readonly string[];
      execArgvExtension: 'none';
    };
    targets: { nodeRange: string; platform: string; arch: string; output: string }[];
  },
) => Promise<void>;

async function linkNames(executable: string, output: string): Promise<void> {
  for (const name of programs) {
    const link = join(output, name);
    await rm(link, { force: true });
    await symlink(executable.slice(output.length + 1), link);
  }
}
