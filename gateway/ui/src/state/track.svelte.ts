/**
 * The records of the chosen unit in the past hour from the gateway's history, and what this page saw
 * since; the trail is the last 15 minutes of them. Without history (an older gateway, no permission) it is what this page saw.
 *
 * What a device kept while it was out of reach comes later and by the backlog: when it is back, or its gaps change, the history is
 * read once more, and the old track stays until the new one is here. **A reading follows every change**, also one that comes while
 * another is waited for or under way.
 *
 * **Only the chosen unit is asked for**: another choice ends the request before, and a gateway that has too much to do is asked
 * again when it says so, as long as the unit is chosen.
 */
import { getTrack } from '../api/history';
import { Refused, SessionLost, TOO_MANY } from '../api/request';
import { join, Seen, trailOf, type Trail } from '../trail';
import type { Gap, Track, TrackPoint, Unit } from '../types';
import { clock } from './clock.svelte';
import { replay } from './replay.svelte';
import { room } from './room.svelte';

export const TRAIL_MS = 15 * 60_000;
const NOTHING: Track = { points: [], gaps: [], next: null };
/** So long after a device is back, or a gap of it changed, most of its backlog is stored. Every reading is on the access record. */
const REREAD_MS = 3_000;
/** A device that changes all the time is read so long after the first change. */
const REREAD_MS_MAX = 10_000;
/** Where a gateway does not say when to ask again. */
const AGAIN_S = 1;

function pointOf({ position }: Unit): TrackPoint | null {
  if (position === null || position.history) return null;
  const { lon, lat, accuracy_m, speed_mps, course_deg, received_at_ms } = position;
  return { at_ms: received_at_ms, lon, lat, accuracy_m, speed_mps, course_deg, backlog: false };
}

class TrackDesk {
  /** Of `#unit`. */
  #track = $state.raw<Track>(NOTHING);
  #seen = new Seen();
  #seenCount = $state(0);
  #unit: string | null = null;
  /** Whether the device was connected, and what it owed. */
  #owed = '';
  /** After the last change, and at the latest. */
  #soon: ReturnType<typeof setTimeout> | undefined;
  #latest: ReturnType<typeof setTimeout> | undefined;
  #reading: Promise<void> | undefined;
  /** Ends what was asked about the choice before. */
  #left = new AbortController();

  /** The trail to draw for the chosen unit; gaps are gaps. */
  readonly trail = $derived.by((): Trail => {
    const unit = room.selected;
    if (unit === null) return { lines: [], gaps: [] };
    void this.#seenCount;
    const points = join(this.#track.points, replay.active ? [] : this.#seen.points(unit));
    const until_ms = replay.active ? replay.at_ms : Number.POSITIVE_INFINITY;
    const from_ms = (replay.active ? replay.at_ms : clock.read_ms()) - TRAIL_MS;
    return trailOf(points.filter(({ at_ms }) => at_ms >= from_ms && at_ms <= until_ms), this.gaps);
  });

  readonly gaps = $derived.by((): Gap[] => {
    const told = this.#track.gaps;
    return told.length > 0 ? told : (room.selectedUnit?.gaps ?? []);
  });

  readonly points = $derived(this.#track.points);

  /** Follows the choice: call when the chosen unit, its news or the replayed hour changed. */
  follow(unit: Unit | null, from_ms: number, until_ms: number, isLive: boolean): void {
    if (unit !== null && isLive) {
      const point = pointOf(unit);
      if (point !== null) {
        this.#seen.add(unit.id, point);
        this.#seenCount += 1;
      }
    }
    const key = unit === null ? null : `${unit.id} ${isLive ? 'live' : from_ms}`;
    const owed = unit === null || !isLive ? '' : JSON.stringify([unit.connected, unit.gaps ?? []]);
    const isOther = owed !== this.#owed;
    this.#owed = owed;
    if (key !== this.#unit) {
      this.#unit = key;
      this.#track = NOTHING;
      clearTimeout(this.#soon);
      clearTimeout(this.#latest);
      this.#latest = undefined;
      this.#ask(unit, from_ms, until_ms);
    } else if (isOther) {
      this.#askSoon(unit, until_ms - from_ms);
    }
  }

  #askSoon(unit: Unit | null, span_ms: number): void {
    const again = (): void => {
      clearTimeout(this.#latest);
      this.#latest = undefined;
      void this.#askAgain(unit, span_ms);
    };
    clearTimeout(this.#soon);
    this.#soon = setTimeout(again, REREAD_MS);
    this.#latest ??= setTimeout(again, REREAD_MS_MAX);
  }

  /** A reading under way comes to its end first: a slow gateway and a device that changes all the time would never show one. */
  async #askAgain(unit: Unit | null, span_ms: number): Promise<void> {
    const left = this.#left.signal;
    await this.#reading;
    if (!left.aborted) this.#ask(unit, clock.read_ms() - span_ms, clock.read_ms());
  }

  #ask(unit: Unit | null, from_ms: number, until_ms: number): void {
    this.#left.abort();
    this.#left = new AbortController();
    if (unit !== null && room.offers('history')) this.#reading = this.#read(unit.id, from_ms, until_ms, this.#left.signal);
  }

  async #read(unit: string, from_ms: number, until_ms: number, left: AbortSignal): Promise<void> {
    while (!left.aborted) {
      try {
        const track = await getTrack(unit, from_ms, until_ms, left);
        if (!left.aborted) this.#track = track;
        return;
      } catch (fault) {
        if (left.aborted) return;
        // No history is no fault of the present: the trail then begins here.
        if (fault instanceof SessionLost) room.end();
        if (!(fault instanceof Refused) || fault.status !== TOO_MANY) return;
        await sleep((fault.retry_after_s ?? AGAIN_S) * 1_000, left);
      }
    }
  }
}

/** Ends early with `left`. */
const sleep = (ms: number, left: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    left.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });

export const track = new TrackDesk();
