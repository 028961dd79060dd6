import { writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import type { Clock } from '../../clock/clock.ts';
import { OperationError } from '../../errors/operation-error.ts';
import { reasonOf } from '../../errors/reason.ts';
import { HttpRequestError } from '../../net/http-error.ts';
import { printable } from '../../text/printable.ts';
import { createRedactor, type Redactor } from '../log/redact.ts';
import { parseArguments } from '../settings/arguments.ts';
import { loadSettings } from '../settings/config.ts';
import { secretsFrom } from '../settings/credentials.ts';
import { exportProxies } from '../settings/proxies.ts';
import { describeFileSystems } from './file-systems.ts';
import { learnKernelSecrets } from './kernel-secrets.ts';
import { makeReport } from './report.ts';
import { sections } from './sections.ts';
import { sendReport } from './send.ts';

const help = `Usage: nibs-report [--output FILE] [--send [--url URL]]
       nibs-report --file-systems

Reports the state of the machine as text: log since power-on, devices, network, container engine.
Secrets are masked.

  -o, --output FILE  write it to this file (default: standard output)
      --send         store it by HTTP PUT at the URL of nibs_report_url
      --url URL      with --send: at this URL
      --file-systems report only the file systems and their free space
  -h, --help         this help
`;

/**
 * The program nibs-report.
 * @returns exit code: 0; 1 if the report cannot be written or sent; 2 for wrong arguments
 */
export async function reportProgram(argv: readonly string[], clock: Clock): Promise<number> {
  try {
    const { output, send, url, help: wanted, 'file-systems': onlyFileSystems } = parse(argv);
    if (wanted || onlyFileSystems) {
      process.stdout.write(wanted ? help : await describeFileSystems());
      return 0;
    }
    if (url !== undefined && !send) throw new ReportArgumentError('--url is only for --send: give --send too');
    const redactor = createRedactor();
    const configured = await learnConfiguration(redactor);
    const target = send ? targetOf(url ?? configured) : undefined;
    const report = await makeReport(sections, redactor, new AbortController().signal);
    if (target !== undefined) await sendReport(target, report, clock, new AbortController().signal);
    if (output !== undefined) await writeFile(output, report);
    else if (target === undefined) process.stdout.write(report);
    return 0;
  } catch (error) {
    const isArgument = error instanceof ReportArgumentError || isParseError(error);
    if (!isArgument && !isExpected(error)) throw error;
    process.stderr.write(`nibs-report: ${printable(reasonOf(error))}\n`);
    return isArgument ? 2 : 1;
  }
}

/** Arguments that do not go together. */
class ReportArgumentError extends Error {
  override readonly name = 'ReportArgumentError';
}

function isParseError(error: unknown): boolean {
  return error instanceof TypeError && 'code' in error && /^ERR_PARSE_ARGS/.test(String(error.code));
}

function parse(argv: readonly string[]) {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      output: { type: 'string', short: 'o' },
      send: { type: 'boolean', default: false },
      url: { type: 'string' },
      'file-systems': { type: 'boolean', default: false },
      help: { type: 'boolean', short: 'h', default: false },
    },
  });
  return values;
}

/**
 * The secrets of the kernel command line and of the agent's configuration are masked.
 * @returns the URL of the configuration
 */
async function learnConfiguration(redactor: Redactor): Promise<string | undefined> {
  await learnKernelSecrets(redactor);
  const { config } = await loadSettings(parseArguments([]), process.env);
  for (const secret of secretsFrom(config)) redactor.learn(secret);
  exportProxies(config, process.env);
  return config.reportUrl;
}

function targetOf(url: string | undefined): URL {
  const details = { what: 'send', target: 'the report' };
  if (url === undefined)
    throw new OperationError({ ...details, why: 'there is no URL', hint: 'set nibs_report_url, or give --url' });
  if (!URL.canParse(url) || !/^https?:/.test(url))
    throw new OperationError({ ...details, why: `${url} is not an HTTP URL` });
  return new URL(url);
}

function isExpected(error: unknown): boolean {
  return (
    error instanceof OperationError ||
    error instanceof HttpRequestError ||
    (error instanceof Error && 'syscall' in error)
  );
}
