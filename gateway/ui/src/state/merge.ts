/**
 * How news joins what is known. Pure.
 *
 * Two sources speak about the same things, a full read and the live feed, and either may be the
 * older one. **Nothing here moves backwards**: a unit update that the full read already contains is
 * dropped by its cursor, and an acknowledged alarm never becomes unacknowledged again.
 */
import type { Alarm, Unit } from '../types';

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

/** A new map with the changed units put in; the others keep their identity. */
export function mergeUnits(known: ReadonlyMap<string, Unit>, changed: readonly Unit[]): Map<string, Unit> {
  const merged = new Map(known);
  for (const unit of changed) merged.set(unit.id, unit);
  return merged;
}

/** The later of two tellings of one alarm. */
export function laterAlarm(known: Alarm | undefined, news: Alarm): Alarm {
  if (known === undefined) return news;
  if (known.state === 'acknowledged' && news.state === 'unacknowledged') return known;
  const receipt = known.receipt === 'delivered' ? known.receipt : news.receipt;
  return { ...news, receipt, cancelled_at_ms: news.cancelled_at_ms ?? known.cancelled_at_ms };
}

export function mergeAlarms(known: ReadonlyMap<string, Alarm>, news: readonly Alarm[]): Map<string, Alarm> {
  const merged = new Map(known);
  for (const alarm of news) merged.set(alarm.id, laterAlarm(merged.get(alarm.id), alarm));
  return merged;
}

/**
 * The queue's order: unacknowledged first; among them the longest waiting on top, because that is
 * the one nobody has answered; below them the latest acknowledged first.
 */
export function queueOrder(a: Alarm, b: Alarm): number {
  if (a.state !== b.state) return a.state === 'unacknowledged' ? -1 : 1;
  if (a.state === 'unacknowledged') return a.received_at_ms - b.received_at_ms;
  return (b.acknowledged_at_ms ?? 0) - (a.acknowledged_at_ms ?? 0);
}

const collator = new Intl.Collator('en-GB', { numeric: true, sensitivity: 'base' });

/** By callsign, numbers as numbers: the list must not move under the pointer. */
export const callsignOrder = (a: Unit, b: Unit): number =>
  collator.compare(a.callsign, b.callsign) || collator.compare(a.id, b.id);
