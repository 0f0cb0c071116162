/** Units as GeoJSON for the map's layers. Pure. */
import type { Alarm, Place, Unit } from '../types';
import { readiness } from '../words';
import { chipName, markerName } from './icons';

export interface UnitProperties {
  id: string;
  marker: string;
  callsign: string;
  /** The ground of the callsign, which carries the mode's tag. */
  chip: string;
  course: number;
  /** 1 fresh .. 0.4 old. */
  fade: number;
  /** Radius of the uncertainty ring in pixels at zoom 22; 0: none. */
  ring_px: number;
  selected: boolean;
  alarmed: boolean;
  order: number;
  /** What a cluster says of its worst unit: `RANK`. */
  rank: number;
  /** 1 if not actual: a cluster with one is hatched. */
  mock: 0 | 1;
}

export type UnitFeature = GeoJSON.Feature<GeoJSON.Point, UnitProperties>;

/** Worse is higher; a cluster shows the worst inside. */
export const RANK = { available: 0, engaged: 1, unavailable: 0, unknown: 0, stale: 2, answered: 3, waiting: 4 } as const;

const FRESH_MS = 60_000;
const OLD_MS = 600_000;
const FADE_MIN = 0.4;

/** A marker keeps its full strength for a minute, then fades evenly until ten minutes. */
export function fadeOf(age_ms: number): number {
  const share = (age_ms - FRESH_MS) / (OLD_MS - FRESH_MS);
  const fade = 1 - (1 - FADE_MIN) * Math.min(1, Math.max(0, share));
  // Steps of 1/20 keep the picture still between visible changes.
  return Math.round(fade * 20) / 20;
}

export interface Drawing {
  selected: string | null;
  now_ms: number;
  alarms: ReadonlyMap<string, Alarm>;
  placeOf(unit: Unit): Place;
}

/** Longer callsigns are cut on the map; the lists show them whole. */
const CALLSIGN_CHARS_MAX = 18;

const shortened = (callsign: string): string =>
  callsign.length > CALLSIGN_CHARS_MAX ? `${callsign.slice(0, CALLSIGN_CHARS_MAX - 1)}…` : callsign;

/** Slower than this, 0.5 m/s, a receiver's course is noise: no tip is better than a turning one. */
const HEADING_MPS_MIN = 0.5;

function headingOf({ position }: Unit): number | null {
  if (position === null || position.course_deg === null) return null;
  return position.speed_mps !== null && position.speed_mps < HEADING_MPS_MIN ? null : position.course_deg;
}

/** Beyond this the ring says "anywhere in town" and only hides the map. */
const UNCERTAINTY_M_MAX = 1_500;

/**
 * How far the unit may be from its marker: the receiver's accuracy, plus the way it can have made
 * since (at its last speed, or a walk).
 */
export function uncertainty_m(unit: Unit, now_ms: number): number {
  if (unit.position === null) return 0;
  const { accuracy_m, speed_mps, received_at_ms } = unit.position;
  const age_s = Math.max(0, now_ms - received_at_ms) / 1_000;
  return Math.min(UNCERTAINTY_M_MAX, (accuracy_m ?? 10) + age_s * Math.max(speed_mps ?? 0, 1.4));
}

/** Pixels of a metre at zoom 22, at a latitude. */
const pixelsPerMetre = (lat: number): number => (512 * 2 ** 22) / (40_075_017 * Math.cos((lat * Math.PI) / 180));

/** A fresh position needs no ring unless somebody looks at it; an old one always has one. */
function ringOf(unit: Unit, place: Place, now_ms: number, isLookedAt: boolean): number {
  const age_ms = now_ms - (unit.position?.received_at_ms ?? now_ms);
  if (age_ms < FRESH_MS && !isLookedAt) return 0;
  // Steps of a tenth: a ring that grows by the second would redraw the map by the second.
  const step = Math.ceil(Math.log(Math.max(1, uncertainty_m(unit, now_ms))) / Math.log(1.1));
  return Math.round(1.1 ** step * pixelsPerMetre(place.lat));
}

function rankOf(unit: Unit, alarm: Alarm | undefined): number {
  if (alarm !== undefined) return alarm.state === 'unacknowledged' ? RANK.waiting : RANK.answered;
  return unit.stale || !unit.connected ? RANK.stale : RANK[readiness(unit.duty)];
}

export function unitFeature(unit: Unit, place: Place, { selected, now_ms, alarms }: Drawing): UnitFeature {
  const course = headingOf(unit);
  const alarm = alarms.get(unit.id);
  const isLookedAt = unit.id === selected || alarm !== undefined;
  const properties: UnitProperties = {
    id: unit.id,
    marker: markerName({
      kind: unit.kind,
      readiness: readiness(unit.duty),
      actual: unit.mode === 'actual',
      heading: course !== null,
      stale: unit.stale,
    }),
    callsign: shortened(unit.callsign),
    chip: chipName(unit.mode),
    course: course ?? 0,
    fade: fadeOf(now_ms - (unit.position?.received_at_ms ?? now_ms)),
    ring_px: ringOf(unit, place, now_ms, isLookedAt),
    selected: unit.id === selected,
    alarmed: alarm !== undefined,
    order: unit.stale ? 2 : unit.kind === 'vehicle' ? 0 : 1,
    rank: rankOf(unit, alarm),
    mock: unit.mode === 'actual' ? 0 : 1,
  };
  return { type: 'Feature', properties, geometry: { type: 'Point', coordinates: [place.lon, place.lat] } };
}

/** What is drawn of a unit, short enough to compare 10,000 of them once a second. */
interface Drawn {
  unit: Unit;
  lon: number;
  lat: number;
  fade: number;
  ring_px: number;
  looked_at: string;
}

/** The difference between what the map's source holds and what it should hold. Not pure: it remembers. */
export class UnitDiff {
  readonly #drawn = new Map<string, Drawn>();

  next(units: Iterable<Unit>, drawing: Drawing): { add: UnitFeature[]; remove: string[] } {
    const add: UnitFeature[] = [];
    const present = new Set<string>();
    for (const unit of units) {
      if (unit.position === null) continue;
      present.add(unit.id);
      const place = drawing.placeOf(unit);
      const now = this.#stateOf(unit, place, drawing);
      const before = this.#drawn.get(unit.id);
      if (before !== undefined && isSame(before, now)) continue;
      this.#drawn.set(unit.id, now);
      add.push(unitFeature(unit, place, drawing));
    }
    const remove = [...this.#drawn.keys()].filter((id) => !present.has(id));
    for (const id of remove) this.#drawn.delete(id);
    return { add, remove };
  }

  #stateOf(unit: Unit, { lon, lat }: Place, { now_ms, selected, alarms }: Drawing): Drawn {
    const alarm = alarms.get(unit.id);
    const isSelected = unit.id === selected;
    return {
      unit,
      lon,
      lat,
      fade: fadeOf(now_ms - (unit.position?.received_at_ms ?? now_ms)),
      ring_px: ringOf(unit, { lon, lat }, now_ms, isSelected || alarm !== undefined),
      looked_at: `${alarm?.state ?? ''}${isSelected ? '!' : ''}`,
    };
  }
}

const isSame = (a: Drawn, b: Drawn): boolean =>
  a.unit === b.unit &&
  a.lon === b.lon &&
  a.lat === b.lat &&
  a.fade === b.fade &&
  a.ring_px === b.ring_px &&
  a.looked_at === b.looked_at;
