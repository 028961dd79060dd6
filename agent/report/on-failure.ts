import type { Clock } from '../../clock/clock.ts';
import { reasonOf } from '../../errors/reason.ts';
import type { Log } from '../log/log.ts';
import type { Redactor } from '../log/redact.ts';

export interface FailureReportOptions {
  readonly reportUrl: string;
  readonly clock: Clock;
  readonly log: Log;
  readonly redactor: Redactor;
}

/**
 * Sends a report of the machine after a failure, and logs whether that worked. Nothing waits for
 * it.
 */
export async function reportFailure(options: FailureReportOptions, signal: AbortSignal): Promise<void> {
  const { reportUrl, clock, log, redactor } = options;
  try {
    // An agent whose actions succeed needs none of it.
    const [{ learnKernelSecrets }, { makeReport }, { sections }, { sendReport }] = await Promise.all([
      import('./kernel-secrets.ts'),
      import('./report.ts'),
      import('./sections.ts'),
      import('./send.ts'),
    ]);
    await learnKernelSecrets(redactor);
    const report = await makeReport(sections, redactor, signal);
    const url = new URL(reportUrl);
    await sendReport(url, report, clock, signal);
    log.info(`a report of the machine was sent to ${url.origin}${url.pathname}`);
  } catch (error) {
    if (!signal.aborted) log.warn(`no report of the machine was sent: ${reasonOf(error)}`);
  }
}
