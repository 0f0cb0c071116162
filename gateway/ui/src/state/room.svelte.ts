/**
 * Everything the page knows of the present, in one place, and the only code that changes it.
 *
 * ```text
 * GET units, alarms --+
 *                     +--> units (UnitStore), alarms (AlarmDesk), gateway --> panels and map
 * live feed ----------+                    ^
 * operator: select, act -------------------+
 * ```
 * The past is elsewhere (replay.svelte.ts) and can never be taken for the present.
 */
import { REASON_OWED, Refused, SessionLost } from '../api/request';
import { getAlarms, getSession, getUnits } from '../api/room';
import { Stream } from '../stream';
import type { Alarm, GatewayState, Session, Unit, Watch } from '../types';
import { AlarmDesk } from './alarms.svelte';
import { clock } from './clock.svelte';
import { isContained } from './merge';
import { UnitStore } from './units.svelte';

/** Between a failed full read and the next, while the feed itself is alive. */
const REREAD_MS = 2_000;

/** Whoever may none of these reads nothing with a position, but for who wears what: there the gateway's refusal says how to go on. */
const LOOKS = ['look', 'history', 'audit_read'];

/** `ended`: the session is over; only a login helps. `barred`: this person's roles have no live picture. */
export type Connection = 'connecting' | 'live' | 'lost' | 'ended' | 'barred';

interface HeldUnits {
  units: Unit[];
  cursor: string | null;
}

/** What the feed said while a full read was under way. */
interface Held {
  units: HeldUnits[];
  alarms: Alarm[];
}

class Room {
  connection = $state<Connection>('connecting');
  /** Browser time of the newest sign of life from the gateway. */
  last_sign_ms = $state(Date.now());
  session = $state.raw<Session | null>(null);
  gateway = $state.raw<GatewayState | null>(null);
  watch = $state.raw<Watch | null>(null);
  selected = $state<string | null>(null);
  /** The force wants to know why somebody looks, before they do. */
  asksWhy = $state(false);
  /** Grows by one whenever somebody has said why they look. */
  reasonsSaid = $state(0);
  /** Grows by one whenever the map should fly to `selected`. */
  flights = $state(0);
  /** Full reads done: the first one, and one whenever the feed could not go on. */
  reads = $state(0);

  readonly units = new UnitStore();
  readonly alarms = new AlarmDesk(() => this.end());
  readonly selectedUnit = $derived.by(() => {
    void this.units.version;
    return this.selected === null ? null : (this.units.get(this.selected) ?? null);
  });

  #cursor: string | null = null;
  #held: Held | null = null;
  #readAgain = false;
  /** Said for this session: a new one is asked again. */
  #hasReason = $state(false);
  /** What is here is a full read and everything that followed it. */
  #isWhole = false;
  readonly #stream = new Stream('/api/v1/stream', {
    onOpen: (resumes) => this.#begin(resumes),
    onLagged: () => void this.#readAll(),
    onUnits: (units, cursor) => this.#takeUnits({ units, cursor }),
    onAlarm: (alarm) => this.#takeAlarm(alarm),
    onGateway: (state) => (this.gateway = state),
    onWatch: (watch) => (this.watch = watch),
    onSign: () => this.#sign(),
    onLost: () => this.#lose(),
    mayRetry: () => this.#sessionHolds(),
  });

  start(): void {
    void this.#sessionHolds().then((holds) => {
      if (holds && this.may('look')) this.#stream.start();
      else if (holds) this.connection = 'barred';
    });
  }

  /** The gateway shows this person nothing before they have said why they look. */
  get owesReason(): boolean {
    return this.session?.reason === 'required' && !this.#hasReason && LOOKS.some((what) => this.may(what));
  }

  /** The gateway has why this person looks. */
  reasonSaid(): void {
    this.#hasReason = true;
    this.reasonsSaid += 1;
    this.asksWhy = false;
    if (this.connection !== 'live') this.resume();
  }

  /** After a login in place: the room goes on. What it shows is old until the first full read. */
  resume(): void {
    this.#stream.stop();
    this.connection = 'connecting';
    this.start();
  }

  select(unit: string | null, options: { fly: boolean } = { fly: false }): void {
    this.selected = unit;
    if (unit === null) this.alarms.chosen = null;
    else if (this.alarms.chosenAlarm?.unit !== unit) this.alarms.chosen = this.alarms.ofUnit.get(unit)?.id ?? null;
    if (unit !== null && options.fly) this.flights += 1;
  }

  /** Choosing an alarm chooses its unit, everywhere. */
  choose(alarm: Alarm): void {
    this.alarms.chosen = alarm.id;
    this.selected = alarm.unit;
    this.flights += 1;
  }

  may(what: string): boolean {
    // An older gateway tells no permissions: it refuses by itself what is not allowed.
    return this.session?.may?.includes(what) ?? true;
  }

  /** True only if the gateway says so: a route that it may not have is not tried. */
  offers(what: string): boolean {
    return this.session?.may?.includes(what) ?? false;
  }

  /** The gateway has confirmed that this console is locked or open again. */
  locked(locked: boolean): void {
    if (this.session !== null) this.session = { ...this.session, locked };
  }

  end(): void {
    this.connection = 'ended';
    this.#hasReason = false;
    this.asksWhy = false;
    this.#stream.stop();
  }

  #takeUnits(news: HeldUnits): void {
    if (this.#held !== null) {
      this.#held.units.push(news);
      return;
    }
    if (isContained(news.cursor, this.#cursor)) return;
    this.units.take(news.units);
    if (news.cursor !== null) this.#cursor = news.cursor;
  }

  #takeAlarm(alarm: Alarm): void {
    // Shown at once: an emergency does not wait for a list.
    this.alarms.take([alarm]);
    this.#held?.alarms.push(alarm);
  }

  /** A feed that goes on after what is here needs no full read; if it cannot, the gateway says `lagged`. */
  #begin(resumes: boolean): void {
    if (resumes && this.#isWhole) return;
    this.#cursor = null;
    void this.#readAll();
  }

  /** Reads everything; feed events that arrive meanwhile are applied after it, in order. */
  async #readAll(): Promise<void> {
    if (this.#held !== null) {
      this.#readAgain = true;
      return;
    }
    this.#held = { units: [], alarms: [] };
    this.#isWhole = false;
    try {
      const [snapshot, alarms] = await Promise.all([getUnits(), getAlarms()]);
      this.units.replace(snapshot.units);
      this.#cursor = snapshot.cursor;
      this.alarms.replace(alarms, new Set(this.#held.alarms.map((alarm) => alarm.id)));
      this.reads += 1;
      this.#isWhole = true;
    } catch (fault) {
      // The feed was open before a reason came to be required: the session says so, and the next read follows what is said.
      if (fault instanceof Refused && fault.status === REASON_OWED) void this.#sessionHolds();
      if (fault instanceof SessionLost) this.end();
      else setTimeout(() => this.connection === 'live' && void this.#readAll(), REREAD_MS);
    }
    const held: Held = this.#held;
    this.#held = null;
    this.alarms.take(held.alarms);
    for (const news of held.units) this.#takeUnits(news);
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

  /**
   * Asks for the session, which also sets the clock. An unreachable gateway ends nothing. A reason may come to be
   * required in mid-shift: without it every reconnect would be refused, so it is asked for here, and `reasonSaid` goes on.
   */
  async #sessionHolds(): Promise<boolean> {
    const asked_at_ms = Date.now();
    try {
      this.session = await getSession();
      clock.synchronise(this.session.server_time_ms, asked_at_ms, Date.now());
    } catch (fault) {
      if (fault instanceof SessionLost) {
        this.end();
        return false;
      }
      if (this.connection === 'connecting') this.connection = 'lost';
    }
    if (this.owesReason) this.asksWhy = true;
    return !this.owesReason;
  }
}

export const room = new Room();
