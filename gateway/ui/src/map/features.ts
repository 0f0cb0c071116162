/** Units as GeoJSON for the map's layers. Pure. */
import { circle } from '../geo';
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
  selected: boolean;
  alarmed: boolean;
  order: number;
}

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

export function unitFeatures(
  units: Iterable<Unit>,
  drawing: Drawing,
): GeoJSON.Feature<GeoJSON.Point, UnitProperties>[] {
  const features: GeoJSON.Feature<GeoJSON.Point, UnitProperties>[] = [];
  for (const unit of units) {
    if (unit.position === null) continue;
    const { lon, lat } = drawing.placeOf(unit);
    features.push({
      type: 'Feature',
      properties: unitProperties(unit, drawing),
      geometry: { type: 'Point', coordinates: [lon, lat] },
    });
  }
  return features;
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

function unitProperties(unit: Unit, { selected, now_ms, alarms }: Drawing): UnitProperties {
  const course = headingOf(unit);
  return {
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
    selected: unit.id === selected,
    alarmed: alarms.has(unit.id),
    order: unit.stale ? 2 : unit.kind === 'vehicle' ? 0 : 1,
  };
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

/** Rings around the units somebody is looking at: the selected one and the alarmed ones. */
export function ringFeatures(units: Iterable<Unit>, drawing: Drawing): GeoJSON.Feature<GeoJSON.Polygon>[] {
  const features: GeoJSON.Feature<GeoJSON.Polygon>[] = [];
  for (const unit of units) {
    const alarmed = drawing.alarms.has(unit.id);
    if (unit.position === null || (unit.id !== drawing.selected && !alarmed)) continue;
    features.push({
      type: 'Feature',
      properties: { alarmed },
      geometry: {
        type: 'Polygon',
        coordinates: [circle(drawing.placeOf(unit), uncertainty_m(unit, drawing.now_ms))],
      },
    });
  }
  return features;
}
