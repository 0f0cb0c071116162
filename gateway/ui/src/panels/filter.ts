/** Which units the list shows. Pure. */
import type { Unit } from '../types';
import { readiness } from '../words';

export interface Filter {
  /** Part of a callsign, a device id or an officer's name. */
  search: string;
  kind: 'all' | 'officer' | 'vehicle';
  /** Empty: every force; every role. */
  force: string;
  role: string;
  state: 'all' | 'available' | 'engaged' | 'unavailable' | 'quiet' | 'alarm';
}

export const EVERYTHING: Filter = { search: '', kind: 'all', force: '', role: '', state: 'all' };

export const isQuiet = (unit: Unit): boolean => unit.stale || !unit.connected;

/** The test for one filter; made once, asked for up to 10,000 units. */
export function passes(filter: Filter, isAlarmed: (id: string) => boolean): (unit: Unit) => boolean {
  const wanted = filter.search.trim().toLowerCase();
  const has = (text: string | null | undefined): boolean => text?.toLowerCase().includes(wanted) ?? false;
  const state = (unit: Unit): boolean => {
    if (filter.state === 'all') return true;
    if (filter.state === 'quiet') return isQuiet(unit);
    if (filter.state === 'alarm') return isAlarmed(unit.id);
    const ready = readiness(unit.duty);
    return ready === filter.state || (filter.state === 'unavailable' && ready === 'unknown');
  };
  return (unit) =>
    (filter.kind === 'all' || unit.kind === filter.kind) &&
    (filter.force === '' || unit.force === filter.force) &&
    (filter.role === '' || unit.role === filter.role) &&
    state(unit) &&
    (wanted === '' || has(unit.callsign) || has(unit.device) || has(unit.officer));
}

/** The values that occur, for a choice; none if there is nothing to choose. */
export function choices(units: Iterable<Unit>, of: (unit: Unit) => string | null | undefined): string[] {
  const found = new Set<string>();
  for (const unit of units) {
    const value = of(unit);
    if (value) found.add(value);
  }
  return found.size > 1 ? [...found].sort() : [];
}
