/**
 * The alarm queue and what this operator does with it.
 *
 * **Only the gateway changes an alarm**: a deed shows when the gateway has confirmed it, and a refusal
 * shows at the alarm, in words, until the next try.
 */
import { Conflict, Refused, SessionLost } from '../api/request';
import { act, type Deed } from '../api/room';
import type { Alarm } from '../types';
import { firstOfUnits, mergeAlarms, queueOrder } from './merge';

/** A closed alarm is remembered for as long as an older telling of it may be on its way. */
const CLOSED_KEPT_MAX = 500;

const UNREACHABLE = {
  acknowledge: 'Not acknowledged: the gateway could not be reached. Try again, or use the radio.',
  other: 'Not done: the gateway could not be reached. Try again.',
} as const;

export class AlarmDesk {
  all = $state.raw<ReadonlyMap<string, Alarm>>(new Map());
  /** The alarm that the keyboard speaks about. */
  chosen = $state<string | null>(null);
  /** Alarm ids with a deed on its way. */
  acting = $state.raw<ReadonlySet<string>>(new Set());
  /** The last deed that failed, in words, by alarm id. */
  refusals = $state.raw<ReadonlyMap<string, string>>(new Map());
  /** Browser time (performance.now) of this operator's newest acknowledgement. */
  answered_ms = Number.NEGATIVE_INFINITY;

  readonly queue = $derived([...this.all.values()].sort(queueOrder));
  readonly waiting = $derived(this.queue.filter((alarm) => alarm.state === 'unacknowledged'));
  readonly ofUnit: ReadonlyMap<string, Alarm> = $derived(firstOfUnits(this.queue));
  readonly chosenAlarm = $derived(this.chosen === null ? null : (this.all.get(this.chosen) ?? null));

  /** Closed alarms, oldest first: an older telling must not bring one back. */
  readonly #closed = new Set<string>();

  constructor(private readonly onSessionLost: () => void) {}

  take(news: readonly Alarm[]): void {
    const merged = mergeAlarms(this.all, news);
    for (const [id, { state }] of merged) {
      if (state === 'closed') this.#closed.add(id);
      if (this.#closed.has(id)) merged.delete(id);
    }
    for (const id of this.#closed) {
      if (this.#closed.size <= CLOSED_KEPT_MAX) break;
      this.#closed.delete(id);
    }
    this.all = merged;
  }

  /** A full read: what it does not name is closed, except what arrived during the read. */
  replace(read: readonly Alarm[], arrived: ReadonlySet<string>): void {
    const named = new Set(read.map((alarm) => alarm.id));
    this.all = new Map([...this.all].filter(([id]) => named.has(id) || arrived.has(id)));
    this.take(read);
  }

  /** The next one in the queue after the chosen, waiting ones only as long as there are any. */
  step(by: 1 | -1): Alarm | null {
    const among = this.waiting.length > 0 ? this.waiting : this.queue;
    const at = among.findIndex((alarm) => alarm.id === this.chosen);
    const next = at < 0 ? (by === 1 ? 0 : among.length - 1) : (at + by + among.length) % among.length;
    return among[next] ?? null;
  }

  /** Does a deed; true if the gateway confirmed it. Otherwise the reason is in `refusals`. */
  async act(id: string, deed: Deed): Promise<boolean> {
    if (this.acting.has(id)) return false;
    this.acting = new Set([...this.acting, id]);
    this.#refuse(id, null);
    try {
      const alarm = await act(id, deed);
      if (alarm?.id === id) this.take([alarm]);
      if (deed.deed === 'acknowledge') this.answered_ms = performance.now();
      return true;
    } catch (fault) {
      this.#failed(id, deed, fault);
      return false;
    } finally {
      this.acting = new Set([...this.acting].filter((alarm) => alarm !== id));
    }
  }

  #failed(id: string, { deed }: Deed, fault: unknown): void {
    if (fault instanceof Conflict) {
      this.take([fault.alarm]);
      // Somebody else answered it: that is what the card now says. Any other deed must be told.
      if (deed !== 'acknowledge') this.#refuse(id, `Not done: ${fault.message}.`);
      return;
    }
    if (fault instanceof SessionLost) this.onSessionLost();
    if (fault instanceof Refused) this.#refuse(id, `Not done: ${fault.message}.`);
    else this.#refuse(id, deed === 'acknowledge' ? UNREACHABLE.acknowledge : UNREACHABLE.other);
  }

  #refuse(id: string, words: string | null): void {
    const others = [...this.refusals].filter(([alarm]) => alarm !== id);
    this.refusals = new Map(words === null ? others : [...others, [id, words]]);
  }
}
