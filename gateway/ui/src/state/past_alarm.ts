/**
 * An alarm as it stood at a moment of the past: what came later is not known yet. Pure.
 *
 * **Never less grave than it was**: where no record says its grade at that moment, the next that is known counts, and after the last
 * one the graver of it and today's.
 */
import type { Alarm, Grade } from '../types';

/** `/api/v1/history/alarms`. */
export interface PastAlarm extends Alarm {
  /** What became of it, oldest first. */
  events?: PastEvent[];
}

export interface PastEvent {
  at_ms: number;
  what: string;
  who: string | null;
  /** How grave it was then, where the record says so. */
  grade?: Grade;
  because?: string;
  /** Of `shelved`: until when, unless it came back before. */
  until_ms?: number;
}

/** Null: it was not there yet, or over. */
export function asOf(alarm: PastAlarm, at_ms: number): Alarm | null {
  const had = (what: string): boolean => alarm.events?.some((event) => event.what === what && event.at_ms <= at_ms) ?? false;
  const isOver = had('closed') || (alarm.closed?.at_ms ?? Infinity) <= at_ms;
  if (alarm.received_at_ms > at_ms || isOver) return null;
  const isAnswered = alarm.acknowledged_at_ms !== null && alarm.acknowledged_at_ms <= at_ms;
  const shelved = shelfAt(alarm, at_ms);
  const state = shelved !== null ? 'shelved' : !isAnswered ? 'unacknowledged' : had('cancelled') || had('cleared') ? 'cleared' : 'acknowledged';
  const grade = gradeAt(alarm, at_ms);
  return { ...alarm, state, shelved, ...(grade === undefined ? {} : { grade }) };
}

const OF_SHELF = new Set(['shelved', 'unshelved', 'shelf_ended']);

/** Who had put it aside, until when and why; null: nobody. */
function shelfAt(alarm: PastAlarm, at_ms: number): NonNullable<Alarm['shelved']> | null {
  const last = alarm.events?.findLast((event) => OF_SHELF.has(event.what) && event.at_ms <= at_ms);
  if (last?.what !== 'shelved') return null;
  return { by: last.who ?? '', until_ms: last.until_ms ?? at_ms, reason: last.because ?? '' };
}

function gradeAt(alarm: PastAlarm, at_ms: number): Grade | undefined {
  const known = (alarm.events ?? []).filter((event) => event.grade !== undefined);
  const last = known.findLast((event) => event.at_ms <= at_ms)?.grade;
  const next = known.find((event) => event.at_ms > at_ms)?.grade;
  if (last === undefined) return next ?? alarm.grade;
  const isLatest = next === undefined;
  return isLatest && alarm.grade !== undefined && alarm.grade < last ? alarm.grade : last;
}
