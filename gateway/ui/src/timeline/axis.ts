/** One time axis for alarms, a unit's records and the replay slider. Pure. */
import { SILENCE_MS } from '../trail';
import type { Alarm, Gap, TrackPoint } from '../types';
import { gapInWords, hourAndMinute } from '../words';

export interface Axis {
  from_ms: number;
  until_ms: number;
  width_px: number;
}

/** Where an instant stands, kept inside the axis. */
export function xOf({ from_ms, until_ms, width_px }: Axis, at_ms: number): number {
  const share = (at_ms - from_ms) / (until_ms - from_ms);
  return Math.round(Math.min(1, Math.max(0, share)) * width_px * 10) / 10;
}

const STEPS_MS = [1, 2, 5, 10, 15, 30, 60].map((minutes) => minutes * 60_000);
/** Room of one label, `02:10`, with air. */
const LABEL_PX = 64;

export function ticks(axis: Axis): { x: number; words: string }[] {
  const span_ms = axis.until_ms - axis.from_ms;
  const step_ms = STEPS_MS.find((step) => (step / span_ms) * axis.width_px >= LABEL_PX) ?? 3_600_000;
  const list = [];
  for (let at_ms = Math.ceil(axis.from_ms / step_ms) * step_ms; at_ms <= axis.until_ms; at_ms += step_ms) {
    list.push({ x: xOf(axis, at_ms), words: hourAndMinute(at_ms) });
  }
  return list;
}

export interface AlarmBar {
  alarm: Alarm;
  /** 0 is the top lane. */
  lane: number;
  x: number;
  /** Where it was acknowledged, or where it waits to. */
  answered_x: number;
  end_x: number;
}

const LANES_MAX = 3;
/** Two signs closer than this cover each other. */
const SIGN_PX = 16;

/** Alarms as bars: raised, answered, ended. Those that would cover each other stand in lanes. */
export function alarmBars(axis: Axis, alarms: readonly Alarm[], now_ms: number): AlarmBar[] {
  const taken: number[] = [];
  return alarms
    .filter(({ received_at_ms, closed }) => received_at_ms <= axis.until_ms && (closed?.at_ms ?? now_ms) >= axis.from_ms)
    .toSorted((a, b) => a.received_at_ms - b.received_at_ms)
    .map((alarm) => {
      const x = xOf(axis, alarm.received_at_ms);
      const free = taken.findIndex((until) => until < x);
      const lane = free >= 0 ? free : Math.min(taken.length, LANES_MAX - 1);
      const end_x = xOf(axis, Math.min(now_ms, alarm.closed?.at_ms ?? now_ms));
      taken[lane] = Math.max(taken[lane] ?? 0, x + SIGN_PX);
      return { alarm, lane, x, answered_x: xOf(axis, Math.min(now_ms, alarm.acknowledged_at_ms ?? now_ms)), end_x };
    });
}

export interface RecordSpan {
  kind: 'live' | 'backlog' | 'gap';
  x: number;
  width_px: number;
  words: string;
}

/** When there are records of a unit, and when not: a gap is a span of its own, never bridged. */
export function recordSpans(axis: Axis, points: readonly TrackPoint[], gaps: readonly Gap[]): RecordSpan[] {
  const spans: RecordSpan[] = [];
  const add = (kind: RecordSpan['kind'], from_ms: number, until_ms: number, words: string): void => {
    const x = xOf(axis, from_ms);
    const width_px = Math.max(1, xOf(axis, until_ms) - x);
    if (until_ms >= axis.from_ms && from_ms <= axis.until_ms) spans.push({ kind, x, width_px, words });
  };
  let start: TrackPoint | undefined;
  points.forEach((point, at) => {
    start ??= point;
    const next = points[at + 1];
    const isSilent = next !== undefined && next.at_ms - point.at_ms > SILENCE_MS;
    if (next !== undefined && !isSilent && next.backlog === point.backlog) return;
    const until_ms = next !== undefined && !isSilent ? next.at_ms : point.at_ms;
    add(point.backlog ? 'backlog' : 'live', start.at_ms, until_ms, point.backlog ? 'from the backlog' : 'live');
    start = undefined;
    if (isSilent && !isTold(gaps, point, next)) add('gap', point.at_ms, next.at_ms, 'no record');
  });
  for (const gap of gaps) if (gap.kind !== 'backlog') add('gap', gap.from_ms, gap.until_ms, gapInWords(gap.kind));
  return spans;
}

const isTold = (gaps: readonly Gap[], before: TrackPoint, after: TrackPoint): boolean =>
  gaps.some(({ kind, from_ms, until_ms }) => kind !== 'backlog' && from_ms < after.at_ms && until_ms > before.at_ms);
