/** Numbers and codes as an operator says them. Pure; British English. */
import type { Alarm, Clock, Gap, Mode, Outcome, Unit } from './types';

const SECOND_MS = 1_000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/**
 * An age in the fewest words that still tell fresh from old: `now`, `12 s`, `3 min`, `2 h`,
 * `4 days`. A negative age (a clock that runs ahead by less than the gateway tolerates) is `now`.
 */
export function ageInWords(age_ms: number): string {
  if (age_ms < 2 * SECOND_MS) return 'now';
  if (age_ms < MINUTE_MS) return `${Math.floor(age_ms / SECOND_MS)} s`;
  if (age_ms < HOUR_MS) return `${Math.floor(age_ms / MINUTE_MS)} min`;
  if (age_ms < 2 * DAY_MS) return `${Math.floor(age_ms / HOUR_MS)} h`;
  return `${Math.floor(age_ms / DAY_MS)} days`;
}

/** `now` or `12 s ago`. */
export function agoInWords(age_ms: number): string {
  const words = ageInWords(age_ms);
  return words === 'now' ? 'just now' : `${words} ago`;
}

/** A running duration for an alarm: `0:07`, `12:40`, `1:02:03`. */
export function stopwatch(duration_ms: number): string {
  const total_s = Math.max(0, Math.floor(duration_ms / SECOND_MS));
  const two = (value: number): string => String(value).padStart(2, '0');
  const hours = Math.floor(total_s / 3600);
  const minutes = Math.floor(total_s / 60) % 60;
  const seconds = two(total_s % 60);
  return hours > 0 ? `${hours}:${two(minutes)}:${seconds}` : `${minutes}:${seconds}`;
}

const clockFormat = new Intl.DateTimeFormat('en-GB', {
  hour: '2-digit',
  minute: '2-digit',
  second: '2-digit',
});

/** `21:14:03`, local time. */
export const timeOfDay = (time_ms: number): string => clockFormat.format(time_ms);

/** How a unit can be used, which is what its colour says. */
export type Readiness = 'available' | 'engaged' | 'unavailable' | 'unknown';

const DUTY: Record<string, [words: string, readiness: Readiness]> = {
  emergency: ['Emergency', 'engaged'],
  on_duty: ['On duty', 'available'],
  available: ['Available', 'available'],
  at_station: ['At station', 'unavailable'],
  refreshments: ['Refreshments', 'unavailable'],
  en_route: ['En route', 'engaged'],
  at_scene: ['At scene', 'engaged'],
  committed: ['Committed', 'engaged'],
  committed_deployable: ['Committed, deployable', 'engaged'],
  committed_not_deployable: ['Committed', 'engaged'],
  prisoner: ['With prisoner', 'engaged'],
  with_prisoner: ['With prisoner', 'engaged'],
  off_duty: ['Off duty', 'unavailable'],
};

/** `en_route` -> `En route`; an unknown code becomes plain words rather than nothing. */
export function codeInWords(code: string): string {
  const words = code.replaceAll(/[_-]+/g, ' ').trim();
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** Who wrote a line: an account's name, or `cli:0`, a command on the gateway by that user of the machine. */
export const writerInWords = (by: string): string => by.replace(/^cli:(\d+)$/, 'command line, uid $1');

/** Codes are spelt with hyphens on the wire and with underscores in the page's API. */
const key = (code: string): string => code.toLowerCase().replaceAll(/[\s-]+/g, '_');

export const dutyInWords = (duty: string | null): string =>
  duty === null ? 'No status' : (DUTY[key(duty)]?.[0] ?? codeInWords(duty));

export const readiness = (duty: string | null): Readiness =>
  duty === null ? 'unknown' : (DUTY[key(duty)]?.[1] ?? 'unknown');

/** Off duty or on a break no coordinate leaves the device. */
export const isPositionWithheld = (duty: string): boolean => ['off_duty', 'refreshments'].includes(key(duty));

const CAUSE: Record<string, string> = {
  officer_down: 'Officer down',
  button: 'Emergency button',
  crash: 'Vehicle crash',
  ced: 'TASER discharged',
  check_in: 'Missed check-in',
  tamper: 'Device tampered with',
  unknown: 'Alarm, cause unknown',
};

/** An alarm from newer firmware is still an alarm: an unknown cause is shown as words. */
export const causeInWords = (cause: string | null): string =>
  cause === null ? 'Alarm' : (CAUSE[key(cause)] ?? codeInWords(cause));

const MODE: Record<Mode, string> = { actual: 'Actual', exercise: 'Exercise', test: 'Test' };

/** A mode this page does not know is treated as not actual: the safe reading. */
export const modeInWords = (mode: Mode): string => MODE[mode] ?? 'Not actual';

const CLOCK: Record<Clock, string> = {
  gnss: 'satellite time',
  network: 'network time',
  holdover: 'device clock, drifting',
  unset: 'device clock not set',
};

export const clockInWords = (clock: Clock): string => CLOCK[clock] ?? clock;

const POINTS = ['north', 'north-east', 'east', 'south-east', 'south', 'south-west', 'west', 'north-west'];

export const courseInWords = (course_deg: number): string =>
  POINTS[Math.round((((course_deg % 360) + 360) % 360) / 45) % 8] ?? '';

/** British roads are signed in miles per hour. */
export const speedInWords = (speed_mps: number): string =>
  speed_mps < 0.3 ? 'standing' : `${Math.round(speed_mps * 2.236_936)} mph`;

export function kindInWords(kind: Unit['kind']): string {
  return kind === 'vehicle' ? 'Vehicle' : 'Officer';
}

/**
 * What the wearer knows of the answer: the last leg of the loop. **Told is not confirmed**: only the
 * device's own confirmation says that it reached the wearer.
 */
export function wearerInWords(alarm: Alarm, connected: boolean): string {
  const { told_ms, confirmed_ms } = alarm.wearer ?? { told_ms: null, confirmed_ms: null };
  // A rule raised it: there is no press of a button to answer.
  if (alarm.wearer?.state === 'knows_nothing') return 'Wearer knows nothing of it';
  if (confirmed_ms !== null) {
    const told = told_ms === null ? '' : `told ${timeOfDay(told_ms)}, `;
    return `Wearer ${told}confirmed ${timeOfDay(confirmed_ms)}`;
  }
  if (told_ms !== null && alarm.receipt !== 'delivered') return `Wearer told ${timeOfDay(told_ms)}, not confirmed`;
  if (alarm.acknowledged_at_ms === null) return 'Wearer waits for an answer';
  if (alarm.receipt === 'delivered') return 'Wearer has been told';
  return connected ? 'Telling the wearer' : 'Wearer not told yet: device not connected';
}

const GAPS: Record<Gap['kind'], string> = {
  backlog: 'filled from the backlog',
  lost: 'lost',
  silent: 'no record',
  off_duty: 'off duty',
  damaged: 'damaged here',
};

/** Why there are no live records. */
export const gapInWords = (kind: Gap['kind']): string => GAPS[kind] ?? 'no record';

/** True once the device itself said that the wearer was told. */
export const isConfirmed = (alarm: Alarm): boolean =>
  (alarm.wearer?.confirmed_ms ?? null) !== null || alarm.receipt === 'delivered';

export const OUTCOMES: readonly [Outcome, string][] = [
  ['genuine', 'Genuine'],
  ['false', 'False alarm'],
  ['test', 'Test'],
  ['exercise', 'Exercise'],
];

/** What to expect next if nobody answers. */
export function escalationInWords(alarm: Alarm, now_ms: number): string | null {
  const escalation = alarm.escalation;
  if (!escalation || alarm.state !== 'unacknowledged') return null;
  const targets = escalation.targets.join(', ');
  const reached = escalation.step === 0 ? '' : `Escalated (step ${escalation.step})${targets === '' ? '' : ` to ${targets}`}. `;
  if (escalation.next_ms === null) return reached === '' ? null : reached.trim();
  const left_s = Math.max(0, Math.ceil((escalation.next_ms - now_ms) / SECOND_MS));
  return `${reached}${escalation.step === 0 ? 'Escalates' : 'Next step'} in ${left_s}\u00a0s.`;
}

/** `1,234`. */
export const countInWords = (count: number): string => count.toLocaleString('en-GB');

/** `1 unit`, `3 units`. */
export const plural = (count: number, one: string, many = `${one}s`): string =>
  `${countInWords(count)} ${count === 1 ? one : many}`;

/** `500 of 2,310 drawn; ask for a shorter time.` Null if all there is can be seen; `is_cut`: the gateway found more than it lists. */
export function cutInWords(count: number, drawn_max: number, is_cut = false): string | null {
  if (is_cut) {
    return `${countInWords(Math.min(count, drawn_max))} of more than ${countInWords(count)} drawn: the gateway found more than it lists. Ask for a shorter time.`;
  }
  return count > drawn_max ? `${countInWords(drawn_max)} of ${countInWords(count)} drawn; ask for a shorter time.` : null;
}

/** `02:10`: for axes and spans. */
const hourFormat = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit' });
export const hourAndMinute = (time_ms: number): string => hourFormat.format(time_ms);

const dayFormat = new Intl.DateTimeFormat('en-GB', { weekday: 'short', day: 'numeric', month: 'short' });
/** `Sun 22 Nov`. */
export const dayInWords = (time_ms: number): string => dayFormat.format(time_ms);

/** `Sun 22 Nov 01:00:00 to 02:00:00`; the second day is named if it is another; an instant once. */
export function spanInWords(from_ms: number, until_ms: number): string {
  const [from, until] = [from_ms, until_ms].map((at_ms) => [dayInWords(at_ms), timeOfDay(at_ms)]) as [[string, string], [string, string]];
  const end = from[0] === until[0] ? until[1] : until.join(' ');
  return from_ms === until_ms ? from.join(' ') : `${from.join(' ')} to ${end}`;
}

/** A short duration: `0.8 s`, `12 s`, `3 min`. */
export const durationInWords = (duration_ms: number): string =>
  duration_ms < 10 * SECOND_MS ? `${(duration_ms / SECOND_MS).toFixed(1)} s` : ageInWords(duration_ms);
