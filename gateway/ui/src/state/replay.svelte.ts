/**
 * The past on a slider. **A replay never touches the room**: live alarms, tones and the feed go on;
 * views ask `stage` (below) which of the two they show, and everything of a replay is marked.
 *
 * ```text
 * /history/replay -> frames (whole, then changes) -> units as they were at `at_ms`
 * /history/alarms -> alarms raised within the hour, and those that were open when it began
 * ```
 * Bounds: one hour, one frame per `STEP_MS`, `PAGES_MAX` answers.
 */
import { SessionLost } from '../api/request';
import { getFrames, getPastAlarms, type Frame } from '../api/history';
import type { Alarm, Unit } from '../types';
import { clock } from './clock.svelte';
import { firstOfUnits } from './merge';
import { asOf, type PastAlarm } from './past_alarm';
import { room } from './room.svelte';
import { UnitStore } from './units.svelte';

export const HOUR_MS = 3_600_000;
const STEP_MS = 10_000;
/** 200 answers of at most 2 MiB. */
const PAGES_MAX = 200;
const TICK_MS = 250;
export const SPEEDS = [1, 5, 20, 60] as const;

class Replay {
  active = $state(false);
  /** What of the hour is here yet, 0 to 1. */
  loaded = $state(0);
  fault = $state('');
  from_ms = $state(0);
  until_ms = $state(0);
  at_ms = $state(0);
  playing = $state(false);
  speed = $state<number>(20);
  alarms = $state.raw<readonly PastAlarm[]>([]);
  readonly units = new UnitStore();

  /** Alarms as they stood at `at_ms`, by unit: of several, the one that the queue had first then. */
  readonly alarmOfUnit = $derived(firstOfUnits(this.alarms.map((alarm) => asOf(alarm, this.at_ms)).filter((then) => then !== null)));

  #frames: Frame[] = [];
  /** The frame that `units` shows. */
  #shown = -1;
  #timer: ReturnType<typeof setInterval> | undefined;
  #run = 0;

  /** Opens the hour that ends at `until_ms` (now, if it is not told). */
  async open(until_ms = clock.read_ms(), at_ms = until_ms - HOUR_MS): Promise<void> {
    const run = (this.#run += 1);
    this.active = true;
    this.pause();
    this.fault = '';
    this.loaded = 0;
    this.#frames = [];
    this.#shown = -1;
    this.units.replace([]);
    this.alarms = [];
    this.until_ms = Math.floor(until_ms / STEP_MS) * STEP_MS;
    this.from_ms = this.until_ms - HOUR_MS;
    this.at_ms = Math.min(this.until_ms, Math.max(this.from_ms, at_ms));
    try {
      const [isWhole] = await Promise.all([this.#readAlarms(run), this.#readFrames(run)]);
      if (run === this.#run && !isWhole) this.fault = 'Not every alarm is shown: there are too many for one hour.';
    } catch (fault) {
      if (run !== this.#run) return;
      if (fault instanceof SessionLost) room.end();
      this.fault = `The past cannot be shown: ${fault instanceof Error ? fault.message : 'unknown fault'}.`;
    }
  }

  close(): void {
    this.#run += 1;
    this.pause();
    this.active = false;
    this.#frames = [];
    this.units.replace([]);
    this.alarms = [];
  }

  seek(at_ms: number): void {
    this.at_ms = Math.min(this.until_ms, Math.max(this.from_ms, at_ms));
    this.#show();
  }

  play(): void {
    this.playing = true;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => {
      this.seek(this.at_ms + TICK_MS * this.speed);
      if (this.at_ms >= this.until_ms) this.pause();
    }, TICK_MS);
  }

  pause(): void {
    this.playing = false;
    clearInterval(this.#timer);
  }

  /** False: there are more than are shown. */
  async #readAlarms(run: number): Promise<boolean> {
    const { alarms, isWhole } = await getPastAlarms(this.from_ms, this.until_ms);
    if (run === this.#run) this.alarms = alarms;
    return isWhole;
  }

  async #readFrames(run: number): Promise<void> {
    const span = { from_ms: this.from_ms, until_ms: this.until_ms, step_ms: STEP_MS };
    let cursor: string | undefined;
    for (let page = 0; page < PAGES_MAX; page += 1) {
      const { frames, next } = await getFrames(span, cursor);
      if (run !== this.#run) return;
      this.#frames.push(...frames);
      const last_ms = this.#frames.at(-1)?.at_ms ?? this.from_ms;
      this.loaded = next === null ? 1 : (last_ms - this.from_ms) / HOUR_MS;
      this.#show();
      if (next === null) return;
      cursor = next;
    }
  }

  /** Applies frames up to `at_ms`; going back starts again from the first, whole one. */
  #show(): void {
    const target = this.#frames.findLastIndex((frame) => frame.at_ms <= this.at_ms);
    if (target === this.#shown) return;
    if (target < this.#shown || this.#shown < 0) {
      this.#shown = 0;
      this.units.replace((this.#frames[0]?.units ?? []).map(asPast));
    }
    const changed: Unit[] = [];
    for (let at = this.#shown + 1; at <= target; at += 1) changed.push(...(this.#frames[at]?.units ?? []));
    // A unit that is gone comes as its id and no position.
    this.units.take(changed.map((unit) => asPast(unit.callsign === undefined ? { ...this.units.get(unit.id), ...unit } : unit)));
    this.#shown = target;
  }
}

/** Nobody knows any more whether a device was connected: the page must not say that it was not. */
const asPast = (unit: Unit): Unit => ({ ...unit, connected: true });

export const replay = new Replay();

/** What the map and the unit list show: the present, or a moment of the past. */
export const stage = {
  get units(): UnitStore {
    return replay.active ? replay.units : room.units;
  },
  get alarmOfUnit(): ReadonlyMap<string, Alarm> {
    return replay.active ? replay.alarmOfUnit : room.alarms.ofUnit;
  },
  get now_ms(): number {
    return replay.active ? replay.at_ms : clock.now_ms;
  },
  get selectedUnit(): Unit | null {
    if (!replay.active) return room.selectedUnit;
    void replay.units.version;
    return room.selected === null ? null : (replay.units.get(room.selected) ?? null);
  },
};


