/**
 * Everything the page knows, in one place, and the only code that changes it.
 *
 * ```text
 * GET units, alarms --+
 *                     +--> merge --> units, alarms, gateway --> panels and map (read only)
 * live feed ----------+                    ^
 * operator: select, acknowledge -----------+
 * ```
 * Collections are replaced, never edited (`$state.raw`), so a view may keep an old one and compare.
 */
import { acknowledge, Conflict, getAlarms, getSession, getUnits, SessionLost } from '../api';
import { Stream } from '../stream';
import type { Alarm, GatewayState, Session, Unit } from '../types';
import { clock } from './clock.svelte';
import { callsignOrder, isContained, mergeAlarms, mergeUnits, queueOrder } from './merge';

/** Between a failed full read and the next, while the feed itself is alive. */
const REREAD_MS = 2_000;

/** `ended`: the session is over; only a new link helps. */
export type Connection = 'connecting' | 'live' | 'lost' | 'ended';

interface HeldUnits {
  units: Unit[];
  cursor: string | null;
}

class Room {
  connection = $state<Connection>('connecting');
  /** Browser time of the newest sign of life from the gateway. */
  last_sign_ms = $state(Date.now());
  session = $state.raw<Session | null>(null);
  units = $state.raw<ReadonlyMap<string, Unit>>(new Map());
  alarms = $state.raw<ReadonlyMap<string, Alarm>>(new Map());
  gateway = $state.raw<GatewayState | null>(null);
  selected = $state<string | null>(null);
  /** Grows by one whenever the map should fly to `selected`. */
  flights = $state(0);
  /** Alarm ids with an acknowledgement on its way. */
  answering = $state.raw<ReadonlySet<string>>(new Set());
  /** The last acknowledgement that failed, in words, by alarm id. */
  refusals = $state.raw<ReadonlyMap<string, string>>(new Map());
  /** Browser time (performance.now) of this operator's newest acknowledgement. */
  answered_ms = Number.NEGATIVE_INFINITY;
  /** Full reads done: the first one and one per reconnect or lag. */
  reads = $state(0);

  readonly unitList = $derived([...this.units.values()].sort(callsignOrder));
  readonly queue = $derived([...this.alarms.values()].sort(queueOrder));
  readonly waiting = $derived(this.queue.filter((alarm) => alarm.state === 'unacknowledged'));
  /** The alarm that colours a unit: unacknowledged before acknowledged. */
  readonly alarmOfUnit = $derived(this.#alarmOfUnit());
  readonly selectedUnit = $derived(this.selected === null ? null : (this.units.get(this.selected) ?? null));

  #cursor: string | null = null;
  /** Units that arrived while a full read was under way; null when none is. */
  #held: HeldUnits[] | null = null;
  #readAgain = false;
  readonly #stream = new Stream('/api/v1/stream', {
    onOpen: () => this.#begin(),
    onLagged: () => void this.#readAll(),
    onUnits: (units, cursor) => this.#takeUnits({ units, cursor }),
    onAlarm: (alarm) => this.#takeAlarms([alarm]),
    onGateway: (state) => (this.gateway = state),
    onSign: () => this.#sign(),
    onLost: () => this.#lose(),
    mayRetry: () => this.#sessionHolds(),
  });

  start(): void {
    void this.#sessionHolds().then((holds) => {
      if (holds) this.#stream.start();
    });
  }

  select(unit: string | null, options: { fly: boolean } = { fly: false }): void {
    this.selected = unit;
    if (unit !== null && options.fly) this.flights += 1;
  }

  /** Acknowledges; the outcome shows in `alarms` or, if it failed, in `refusals`. */
  async acknowledge(id: string): Promise<void> {
    if (this.answering.has(id)) return;
    this.answering = new Set([...this.answering, id]);
    this.refusals = new Map([...this.refusals].filter(([alarm]) => alarm !== id));
    try {
      this.#takeAlarms([await acknowledge(id)]);
      this.answered_ms = performance.now();
    } catch (fault) {
      this.#refuse(id, fault);
    } finally {
      this.answering = new Set([...this.answering].filter((alarm) => alarm !== id));
    }
  }

  #refuse(id: string, fault: unknown): void {
    if (fault instanceof Conflict) {
      this.#takeAlarms([fault.alarm]);
      return;
    }
    if (fault instanceof SessionLost) this.#end();
    this.refusals = new Map([
      ...this.refusals,
      [id, 'Not acknowledged: the gateway could not be reached. Try again, or use the radio.'],
    ]);
  }

  #alarmOfUnit(): ReadonlyMap<string, Alarm> {
    const byUnit = new Map<string, Alarm>();
    for (const alarm of [...this.queue].reverse()) byUnit.set(alarm.unit, alarm);
    return byUnit;
  }

  #takeUnits(news: HeldUnits): void {
    if (this.#held !== null) {
      this.#held.push(news);
      return;
    }
    if (isContained(news.cursor, this.#cursor)) return;
    this.units = mergeUnits(this.units, news.units);
    if (news.cursor !== null) this.#cursor = news.cursor;
  }

  #takeAlarms(news: readonly Alarm[]): void {
    this.alarms = mergeAlarms(this.alarms, news);
  }

  /** A new feed may come from a restarted gateway, whose cursors count from the beginning. */
  #begin(): void {
    this.#cursor = null;
    void this.#readAll();
  }

  /** Reads everything; feed events that arrive meanwhile are applied after it, in order. */
  async #readAll(): Promise<void> {
    if (this.#held !== null) {
      this.#readAgain = true;
      return;
    }
    this.#held = [];
    try {
      const [snapshot, alarms] = await Promise.all([getUnits(), getAlarms()]);
      this.units = new Map(snapshot.units.map((unit) => [unit.id, unit]));
      this.#cursor = snapshot.cursor;
      // Merged, not replaced: an alarm raised during the read must not vanish because of it.
      this.#takeAlarms(alarms);
      this.reads += 1;
    } catch (fault) {
      if (fault instanceof SessionLost) this.#end();
      else setTimeout(() => this.connection === 'live' && void this.#readAll(), REREAD_MS);
    }
    const held: HeldUnits[] = this.#held ?? [];
    this.#held = null;
    for (const news of held) this.#takeUnits(news);
    if (this.#readAgain) {
      this.#readAgain = false;
      await this.#readAll();
    }
  }

  #sign(): void {
    this.last_sign_ms = Date.now();
    if (this.connection !== 'ended') this.connection = 'live';
  }

  #lose(): void {
    if (this.connection !== 'ended') this.connection = 'lost';
  }

  #end(): void {
    this.connection = 'ended';
    this.#stream.stop();
  }

  /** Asks for the session, which also sets the clock. An unreachable gateway ends nothing. */
  async #sessionHolds(): Promise<boolean> {
    const asked_at_ms = Date.now();
    try {
      this.session = await getSession();
      clock.synchronise(this.session.server_time_ms, asked_at_ms, Date.now());
    } catch (fault) {
      if (fault instanceof SessionLost) {
        this.#end();
        return false;
      }
      if (this.connection === 'connecting') this.connection = 'lost';
    }
    return true;
  }
}

export const room = new Room();
