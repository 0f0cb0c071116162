/**
 * How news joins what is known. Pure.
 *
 * Two sources speak about the same things, a full read and the live feed, and either may be the
 * older one. **Nothing here moves backwards**: a unit update that the full read already contains is
 * dropped by its cursor, an alarm's older telling by its revision.
 */
import type { Alarm, AlarmState, Grade, Unit } from '../types';

/**
 * Compares stream cursors, which are decimal counters too large for a number. Negative: `a` is
 * older. A cursor that is no decimal counter compares as equal, so that nothing is dropped by it.
 */
export function compareCursors(a: string, b: string): number {
  if (!/^\d+$/.test(a) || !/^\d+$/.test(b)) return 0;
  const [left, right] = [BigInt(a), BigInt(b)];
  return left < right ? -1 : left > right ? 1 : 0;
}

/** True if a feed event with this cursor is already part of the full read at `snapshot`. */
export const isContained = (event: string | null, snapshot: string | null): boolean =>
  event !== null && snapshot !== null && compareCursors(event, snapshot) < 0;

/**
 * The later of two tellings of one alarm: the higher revision. A gateway that gives none is asked
 * for less: then an acknowledgement, a confirmation and a cancellation are never taken back.
 */
export function laterAlarm(known: Alarm | undefined, news: Alarm): Alarm {
  if (known === undefined) return news;
  if (known.revision !== undefined && news.revision !== undefined) {
    return news.revision < known.revision ? known : news;
  }
  if (known.state !== 'unacknowledged' && news.state === 'unacknowledged') return known;
  const receipt = known.receipt === 'delivered' ? known.receipt : news.receipt;
  return { ...news, receipt, cancelled_at_ms: news.cancelled_at_ms ?? known.cancelled_at_ms };
}

export function mergeAlarms(known: ReadonlyMap<string, Alarm>, news: readonly Alarm[]): Map<string, Alarm> {
  const merged = new Map(known);
  for (const alarm of news) merged.set(alarm.id, laterAlarm(merged.get(alarm.id), alarm));
  return merged;
}

/** An alarm whose grade is not told is treated as the gravest: the safe reading. */
export const gradeOf = (alarm: Alarm): Grade => alarm.grade ?? 'P1';

const STATE_ORDER: Record<AlarmState, number> = {
  unacknowledged: 0,
  acknowledged: 1,
  cleared: 2,
  shelved: 3,
  closed: 4,
};

/**
 * The queue's order: unacknowledged first, the gravest on top, among equals the longest waiting,
 * because that is the one nobody has answered; below them the latest acknowledged first.
 */
export function queueOrder(a: Alarm, b: Alarm): number {
  const state = (STATE_ORDER[a.state] ?? 0) - (STATE_ORDER[b.state] ?? 0);
  if (state !== 0) return state;
  if (a.state !== 'unacknowledged') return (b.acknowledged_at_ms ?? 0) - (a.acknowledged_at_ms ?? 0);
  const grade = gradeOf(a).localeCompare(gradeOf(b));
  return grade !== 0 ? grade : a.received_at_ms - b.received_at_ms;
}

/** The alarm that colours each unit: its first in the queue's order. A shelved one colours nothing. */
export function firstOfUnits<A extends Alarm>(alarms: readonly A[]): Map<string, A> {
  const byUnit = new Map<string, A>();
  for (const alarm of [...alarms].sort(queueOrder)) {
    if (alarm.state !== 'shelved' && !byUnit.has(alarm.unit)) byUnit.set(alarm.unit, alarm);
  }
  return byUnit;
}

const collator = new Intl.Collator('en-GB', { numeric: true, sensitivity: 'base' });

/** By callsign, numbers as numbers: the list must not move under the pointer. */
export const callsignOrder = (a: Unit, b: Unit): number =>
  collator.compare(a.callsign, b.callsign) || collator.compare(a.id, b.id);
