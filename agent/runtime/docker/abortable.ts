/**
 * The values of a response that is read in parts. When the signal is aborted meanwhile, Node's HTTP
 * client only says that the connection ended.
 * @throws what the source throws; the reason of the signal
 */
export async function* abortable<Value>(
  source: AsyncIterable<Value>,
  signal: AbortSignal,
): AsyncGenerator<Value, void, undefined> {
  try {
    yield* source;
  } catch (error) {
    signal.throwIfAborted();
    throw error;
  }
}
