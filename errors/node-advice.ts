/**
 * Removes the advice that Node 24 adds to the reasons of failed TLS connections ("if the root CA is
 * installed locally, try running Node.js with --use-system-ca"): the user of these programs does
 * not start Node, and they trust the system's certificates already.
 */
export function withoutNodeAdvice(message: string): string {
  return message.replace(/; if the root CA is installed locally, try running Node\.js with +--use-system-ca/g, '');
}
