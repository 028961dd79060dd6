import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { alreadyRead, unreadVariables } from '../../executable/node-variables.ts';
import { runTool } from '../../tools/run-tool.ts';

/** Of Node's JavaScript. They are removed before the programs run, without effect until then. */
const removed = [
  ...['NODE_CHANNEL_FD', 'NODE_CHANNEL_SERIALIZATION_MODE', 'NODE_UNIQUE_ID', 'NODE_CLUSTER_SCHED_POLICY'],
  ...['NODE_COMPILE_CACHE_PORTABLE', 'NODE_PATH', 'NODE_TLS_REJECT_UNAUTHORIZED', 'NODE_PENDING_PIPE_INSTANCES'],
  ...['NODE_DISABLE_COLORS', 'NODE_NO_READLINE', 'NODE_NO_WARNINGS', 'NODE_REPL_HISTORY', 'NODE_REPL_HISTORY_SIZE'],
  ...['NODE_REPL_MODE', 'NODE_TEST_CONTEXT', 'NODE_TEST_WORKER_ID', 'NODE_DISABLE_COMPILE_CACHE'],
  ...['NODE_INSPECT_RESUME_ON_START', 'NODE_SKIP_PLATFORM_CHECK'],
];

/** Texts of this form that are no variables. */
const noVariables =
  /^NODE_(PERFORMANCE_|BINDING_|BUILTIN_|CLUSTER$|HANDLE|SOCKET_|DEBUG_ENABLED|SEA_BLOB|USE_V8_PLATFORM)/;

test('it is decided what becomes of each variable of Node, and of OpenSSL those that name files', async () => {
  const printSources = 'Object.values(process.binding("natives")).join("\\n")';
  const { stdout: sources } = await runTool(process.execPath, ['--print', printSources]);
  const ofScripts = [...sources.matchAll(/\bNODE_[A-Z0-9_]+\b/g)].map(([name]) => name);
  const program = readFileSync(process.execPath, 'latin1');
  const names = /(?<=\0)(?:NODE_[A-Z0-9_]+|OPENSSL_(?:CONF|CONF_INCLUDE|ENGINES|MODULES))(?=\0)/g;
  const ofProgram = [...program.matchAll(names)].map(([name]) => name);
  const found = new Set([...ofScripts, ...ofProgram].filter((name) => !noVariables.test(name)));
  assert.ok(found.size > 25);
  const decided = new Set([...unreadVariables, ...alreadyRead, ...removed]);
  assert.deepEqual([...found].filter((name) => !decided.has(name)).sort(), []);
});
