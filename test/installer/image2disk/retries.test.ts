import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DiskError, IncompleteWriteError } from '../../../installer/disk/errors.ts';
import { InstallError } from '../../../installer/errors.ts';
import { createActionLog } from '../../../installer/image2disk/log.ts';
import { writeWithRetries } from '../../../installer/image2disk/retries.ts';
import { readSettings, type Settings } from '../../../installer/image2disk/settings.ts';
import { VirtualClock } from '../../sandbox/virtual-clock.ts';

const broken = (target = '/dev/sdb') =>
  new IncompleteWriteError({ what: 'install to', target, why: 'i/o error' }, true);
const refused = new InstallError({ what: 'download', target: 'http://a/b', why: 'HTTP status 404' });
const interrupted = new InstallError({
  what: 'finish',
  target: 'this run',
  why: 'interrupted',
  hint: 'no disk was changed',
});

/**
 * Runs attempts that fail so, one after the other; the next one succeeds.
 * @param onRetry called when the log has it, before the pause
 */
async function run(
  environment: Readonly<Record<string, string>>,
  failures: readonly unknown[],
  onRetry: (abort: (reason: unknown) => void) => void = () => {},
) {
  const controller = new AbortController();
  const clock = new VirtualClock();
  const lines: string[] = [];
  const output = {
    write(text: string) {
      lines.push(text);
      onRetry((reason) => controller.abort(reason));
    },
  };
  const disks: string[] = [];
  const rest = [...failures];
  const write = async ({ target }: Settings) => {
    disks.push(target.kind === 'device' ? target.path : target.kind);
    const failure = rest.shift();
    if (failure !== undefined) throw failure;
  };
  const settings = readSettings({ IMG_URL: 'http://a/b', RETRY_ENABLED: 'true', ...environment }, assert.fail, 0);
  const context = {
    log: createActionLog('json', output, clock),
    explain: String,
    clock,
    signal: controller.signal,
  };
  const error = await writeWithRetries(settings, write, context).catch((reason: unknown) => reason);
  return { error, disks, lines };
}

test('an attempt after the disk was changed is made on the same disk, also if another is the smallest now', async () => {
  const changed = await run({ DEST_DISK: 'smallest' }, [refused, new Error('no mirror', { cause: broken() }), refused]);
  assert.equal(changed.error, undefined);
  assert.deepEqual(changed.disks, ['smallest', 'smallest', '/dev/sdb', '/dev/sdb']);
  const named = await run({ DEST_DISK: '/dev/disk/by-id/a' }, [broken()]);
  assert.deepEqual(named.disks, ['/dev/disk/by-id/a', '/dev/disk/by-id/a'], 'a link may lead to another node now');
});

test('where the last attempt changed nothing, its error names how an earlier one left the disk', async () => {
  const late = Array.from({ length: 50 }, () => refused);
  const { error } = await run({ DEST_DISK: '/dev/sdb', RETRY_DURATION_MINUTES: '1' }, [broken(), ...late]);
  assert.ok(error instanceof IncompleteWriteError);
  assert.match(
    error.message,
    /^cannot install to \/dev\/sdb: cannot download http:\/\/a\/b: HTTP status 404; the disk was left without a partition table/,
  );
  const untouched = await run({ DEST_DISK: '/dev/sdb', RETRY_DURATION_MINUTES: '1' }, late);
  assert.equal(untouched.error, refused);
  const own = new DiskError({ what: 'install to', target: '/dev/sdb', why: 'another', cause: broken() });
  const last = await run({ DEST_DISK: '/dev/sdb', RETRY_DURATION_MINUTES: '1' }, Array(50).fill(own));
  assert.equal(last.error, own, 'it says so itself');
});

test('an interrupt between two attempts does not say that no disk was changed, if one was', async () => {
  const { error, disks } = await run({ DEST_DISK: '/dev/sdb' }, [broken()], (abort) => abort(interrupted));
  assert.equal(disks.length, 1);
  assert.ok(error instanceof IncompleteWriteError);
  assert.match(error.message, /^cannot install to \/dev\/sdb: it was interrupted; the disk was left without/);
  const untouched = await run({ DEST_DISK: '/dev/sdb' }, [refused], (abort) => abort(interrupted));
  assert.equal(untouched.error, interrupted);
});
