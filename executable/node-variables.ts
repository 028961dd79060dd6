import { existsSync } from 'node:fs';
import { argv, argv0, env, execPath, execve } from 'node:process';

/**
 * Variables that the compiled part of Node and its libraries read, mostly before any code of a
 * program runs: they load code, add trusted authorities, write files, replace data or end the
 * process. Their names are changed in the executable's copy of Node (trim/trim-node.ts).
 *
 * Sources: "Environment variables" of Node's command-line documentation; openssl-env(7) of OpenSSL
 * 3.5; `getDataDirectory()` of ICU.
 */
export const unreadVariables: readonly string[] = [
  'NODE_DEBUG_NATIVE',
  'NODE_EXTRA_CA_CERTS',
  'NODE_ICU_DATA',
  'NODE_OPTIONS',
  'NODE_PENDING_DEPRECATION',
  'NODE_PRESERVE_SYMLINKS',
  'NODE_PRESERVE_SYMLINKS_MAIN',
  'NODE_REDIRECT_WARNINGS',
  'NODE_REPL_EXTERNAL_MODULE',
  'NODE_USE_ENV_PROXY',
  'NODE_USE_SYSTEM_CA',
  'NODE_V8_COVERAGE',
  'NODE_COMPILE_CACHE',
  'CTLOG_FILE',
  'ICU_TIMEZONE_FILES_DIR',
  'OPENSSL_CONF',
  'OPENSSL_CONF_INCLUDE',
  'OPENSSL_ENGINES',
  'OPENSSL_MODULES',
  'OSSL_QFILTER',
  'QLOGDIR',
  'RANDFILE',
];

/**
 * Variables that Node's own JavaScript has read by now, and keeps: one prints the headers of
 * requests, passwords included, the other writes files.
 */
export const alreadyRead = ['NODE_DEBUG', 'NODE_V8_COVERAGE'];

/**
 * Removes the variables by which Node changes what it does, before the programs read them or pass
 * them to tools. Where Node has read one already, the process starts again without it, as the same
 * process of the system.
 */
export function ignoreNodeVariables(): void {
  const mustStartAgain = alreadyRead.some((name) => env[name] !== undefined);
  for (const name of Object.keys(env)) if (name.startsWith('NODE_')) delete env[name];
  // The path is not known without /proc.
  if (mustStartAgain && execve !== undefined && existsSync(execPath)) execve(execPath, [argv0, ...argv.slice(2)], env);
}
