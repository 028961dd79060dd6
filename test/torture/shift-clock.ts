/**
 * Preloaded into an agent whose machine's clock is set: at SIGUSR2 the time of day jumps by
 * `CLOCK_JUMP_SECONDS`, and back at the next. The monotonic clock and what OpenSSL reads stay.
 */
const RealDate = Date;
const jumpMilliseconds = Number(process.env['CLOCK_JUMP_SECONDS'] ?? 0) * 1000;
let offset = 0;
process.on('SIGUSR2', () => {
  offset = offset === 0 ? jumpMilliseconds : 0;
});

class ShiftedDate extends RealDate {
  constructor(...values: readonly [] | ConstructorParameters<DateConstructor>) {
    if (values.length === 0) super(RealDate.now() + offset);
    else super(...(values as [number]));
  }
  static override now(): number {
    return RealDate.now() + offset;
  }
}
globalThis.Date = ShiftedDate as DateConstructor;
