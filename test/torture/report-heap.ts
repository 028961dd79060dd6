/**
 * Preloaded into an agent that is watched: at SIGUSR2 it collects garbage (`--expose-gc`) and
 * prints what is left, in bytes.
 */
process.on('SIGUSR2', () => {
  globalThis.gc?.();
  const { heapUsed, rss } = process.memoryUsage();
  process.stderr.write(`${JSON.stringify({ heapUsed, rss })}\n`);
});
