/**
 * Runs a command with a private Docker Engine, at DOCKER_HOST. The engine has one image,
 * `debian:13`, made of a root directory, because a registry may be out of reach.
 *
 *     node test/hosts/with-engine.ts ROOT COMMAND...
 *
 * The exit code is that of the command. The engine has no network of its own: containers need
 * `--network host`.
 */
import { execa } from 'execa';
import { startEngine } from '../sandbox/engine.ts';

const [root, program, ...parameters] = process.argv.slice(2);
if (root === undefined || program === undefined) throw new Error('usage: with-engine.ts ROOT COMMAND...');

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort(new Error(signal)));

await using engine = await startEngine({ privileged: true });
// The engine has the interface of builds that all releases of Debian have.
const env = { DOCKER_HOST: engine.host, DOCKER_BUILDKIT: '0' };
const files = ['--create', '--one-file-system', '--exclude=./srv/*', '--directory', root, '.'];
await execa('tar', files, { buffer: false }).pipe('docker', ['import', '-', 'debian:13'], { env, stdout: 'ignore' });
const { exitCode } = await execa(program, parameters, {
  env,
  stdio: 'inherit',
  reject: false,
  cancelSignal: stop.signal,
});
process.exitCode = exitCode ?? 1;
