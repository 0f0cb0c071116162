/** Scales of the report's charts. Pure. */

/** EEMUA 191, alarms per operator per 10 minutes. */
export const EEMUA = [
  { at: 1, words: 'goal' },
  { at: 2, words: 'manageable' },
  { at: 5, words: 'excessive' },
] as const;

/** A bar per operator: its slots, as parts of `height_px`; the axis reaches at least to "excessive". */
export function barScale(values: readonly number[], height_px: number): { max: number; y(value: number): number } {
  const max = Math.max(6, ...values);
  return { max, y: (value) => Math.round((height_px - (value / max) * height_px) * 10) / 10 };
}

/** Lines of text need so much. */
const TEXT_PX = 12;

/** Where the words beside the lines stand: each at its line, and none over the one below it. Lowest first. */
export function wordsY(lines_y: readonly number[]): number[] {
  const placed: number[] = [];
  for (const y of lines_y) placed.push(Math.min(y, (placed.at(-1) ?? Infinity) - TEXT_PX));
  return placed;
}

const SECOND_MS = 1_000;
/** Half a second to five minutes. */
const FROM_MS = SECOND_MS / 2;
const UNTIL_MS = 300 * SECOND_MS;

/** A duration on a logarithmic axis: what matters is between one second and one minute. */
export function durationX(duration_ms: number, width_px: number): number {
  const kept = Math.min(UNTIL_MS, Math.max(FROM_MS, duration_ms));
  return Math.round((Math.log(kept / FROM_MS) / Math.log(UNTIL_MS / FROM_MS)) * width_px * 10) / 10;
}

export const DURATION_TICKS_MS = [1, 2, 5, 10, 20, 60, 120, 300].map((seconds) => seconds * SECOND_MS);
