/**
 * The units the page knows, made for 10,000 of them.
 *
 * A map that is edited in place and two counters that views depend on:
 * `version` moves when anything changed, at most once per `FLUSH_MS`; `order` is a new list only when
 * units come, go or change their callsign. **A unit object is never edited**: what changed has
 * another identity, so a view finds its changes by comparing references.
 */
import type { Unit } from '../types';
import { callsignOrder } from './merge';

/** Few units are shown as they come; a multitude is drawn in steps, so that the page stays quick. */
const FLUSH_MS = { few: 50, many: 500 };
const MANY_UNITS = 1_000;

export class UnitStore {
  version = $state(0);
  /** By callsign. */
  order = $state.raw<readonly Unit[]>([]);
  readonly #units = new Map<string, Unit>();
  #timer: ReturnType<typeof setTimeout> | undefined;
  #isReordered = false;

  get size(): number {
    return this.#units.size;
  }

  get(id: string): Unit | undefined {
    return this.#units.get(id);
  }

  keys(): IterableIterator<string> {
    return this.#units.keys();
  }

  values(): IterableIterator<Unit> {
    return this.#units.values();
  }

  /** What a full read says: nothing else is known any more. */
  replace(units: readonly Unit[]): void {
    this.#units.clear();
    for (const unit of units) this.#units.set(unit.id, unit);
    this.#isReordered = true;
    this.#flush();
  }

  take(units: readonly Unit[]): void {
    for (const unit of units) {
      const known = this.#units.get(unit.id);
      if (known === undefined || known.callsign !== unit.callsign) this.#isReordered = true;
      this.#units.set(unit.id, unit);
    }
    const wait_ms = this.#units.size > MANY_UNITS ? FLUSH_MS.many : FLUSH_MS.few;
    this.#timer ??= setTimeout(() => this.#flush(), wait_ms);
  }

  #flush(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    if (this.#isReordered) this.order = [...this.#units.values()].sort(callsignOrder);
    this.#isReordered = false;
    this.version += 1;
  }
}
