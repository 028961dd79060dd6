import assert from 'node:assert/strict';
import { Readable } from 'node:stream';
import { test } from 'node:test';
import { runTool, ToolError } from '../../tools/run-tool.ts';

test('runTool() returns what a tool prints, and finds tools in the sbin directories', async () => {
  assert.match((await runTool('losetup', ['--version'])).stdout, /^losetup from util-linux/);
});

test('the error of runTool() has the error output of the tool', async () => {
  await assert.rejects(runTool('ls', ['/nibs-nowhere']), (error: unknown) => {
    assert.ok(error instanceof ToolError);
    assert.equal(error.missing, false);
    assert.match(error.message, /^cannot run 'ls \/nibs-nowhere': .*No such file or directory/);
    return true;
  });
});

test('runTool() accepts the exit codes given', async () => {
  assert.equal((await runTool('false', [], { acceptedExitCodes: [0, 1] })).exitCode, 1);
  await assert.rejects(runTool('false', []), /it ended with exit code 1/);
});

test('runTool() says that a tool is missing', async () => {
  await assert.rejects(runTool('nibs-no-such-tool', []), (error: unknown) => {
    assert.ok(error instanceof ToolError);
    assert.equal(error.missing, true);
    assert.match(error.message, /program not found \(install the package that contains nibs-no-such-tool\)/);
    return true;
  });
});

test('runTool() gives a tool its input, its working directory and its environment', async () => {
  const script = 'echo $PWD $GIVEN $LC_ALL; [ -z "$HOME" ] && cat';
  const environment = { GIVEN: 'given', HOME: undefined };
  const options = { input: Readable.from([' first', ' second']), workingDirectory: '/', environment };
  assert.equal((await runTool('sh', ['-c', script], options)).stdout, '/ given C\n first second');
});

test('runTool() gives a tool no variable of this process that it does not need', async (t) => {
  const secrets = {
    REGISTRY_PASSWORD: 'hunter22',
    HTTPS_PROXY: 'http://bob:hunter22@proxy:3128',
    API_TOKEN: 'hunter22',
  };
  Object.assign(process.env, secrets);
  t.after(() => {
    for (const name of Object.keys(secrets)) delete process.env[name];
  });
  const { stdout } = await runTool('env', []);
  assert.doesNotMatch(stdout, /hunter22/);
  assert.match(stdout, /^PATH=/m);
});

test('runTool() ends a tool that takes too long, or whose signal is aborted', async () => {
  const started = performance.now();
  await assert.rejects(runTool('sleep', ['20'], { timeoutSeconds: 0.1 }), /it did not end within 0.1 s$/);
  await assert.rejects(runTool('sleep', ['20'], { signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' });
  assert.ok(performance.now() - started < 10_000);
});

test('runTool() does not start a tool when the signal is aborted already', async () => {
  await assert.rejects(runTool('true', [], { signal: AbortSignal.abort() }), { name: 'AbortError' });
});
