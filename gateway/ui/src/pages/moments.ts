/** Moments as a `datetime-local` field writes them: the workstation's local time, to the minute. Pure. */

const two = (value: number): string => String(value).padStart(2, '0');

/** `2026-11-22T02:10`. */
export function toField(time_ms: number): string {
  const time = new Date(time_ms);
  const day = `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
  return `${day}T${two(time.getHours())}:${two(time.getMinutes())}`;
}

/** Unix ms; null if nothing readable is written. */
export function ofField(text: string): number | null {
  const time_ms = new Date(text).getTime();
  return Number.isNaN(time_ms) ? null : time_ms;
}
