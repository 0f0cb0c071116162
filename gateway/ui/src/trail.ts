/**
 * Where a unit has been, as lines to draw. Pure.
 *
 * **A gap is drawn as a gap**: no line crosses a time without records; its two ends are marked and
 * its middle says how long. What came by the backlog is history and is drawn as such.
 */
import { distance_m } from './geo';
import type { Gap, Place, TrackPoint } from './types';
import { ageInWords, gapInWords } from './words';

/** Longer than three expected periods on foot (30 s): two points this far apart are not one line. */
export const SILENCE_MS = 90_000;
/** Closer points say nothing new. */
const STEP_M_MIN = 3;
/** 15 minutes at one position each 5 s, twice over. */
const POINTS_MAX = 400;

/** Positions seen on this page since it was opened, newest last, of the unit that is looked at. */
export class Seen {
  #unit: string | null = null;
  #points: TrackPoint[] = [];

  points(unit: string): readonly TrackPoint[] {
    return this.#unit === unit ? this.#points : [];
  }

  add(unit: string, point: TrackPoint): void {
    if (this.#unit !== unit) [this.#unit, this.#points] = [unit, []];
    const last = this.#points.at(-1);
    if (last !== undefined && (point.at_ms <= last.at_ms || distance_m(last, point) < STEP_M_MIN)) return;
    this.#points.push(point);
    if (this.#points.length > POINTS_MAX) this.#points.shift();
  }
}

export interface TrailLine {
  kind: 'live' | 'backlog';
  points: Place[];
}

export interface TrailGap {
  /** Last place before it, first place after it. */
  ends: [Place, Place];
  middle: Place;
  words: string;
}

export interface Trail {
  lines: TrailLine[];
  gaps: TrailGap[];
}

const byTime = (a: TrackPoint, b: TrackPoint): number => a.at_ms - b.at_ms;

/** One list out of the gateway's track and what was seen since; a point in both counts once. */
export function join(track: readonly TrackPoint[], seen: readonly TrackPoint[]): TrackPoint[] {
  const from_ms = track.at(-1)?.at_ms ?? Number.NEGATIVE_INFINITY;
  return [...track, ...seen.filter((point) => point.at_ms > from_ms)].sort(byTime);
}

function gapBetween(a: TrackPoint, b: TrackPoint, gaps: readonly Gap[]): string | null {
  // Half a second of grace: a gap begins with the first record that is missing, not with the last there.
  const told = gaps.find((gap) => gap.from_ms < b.at_ms - 500 && gap.until_ms > a.at_ms + 500 && gap.kind !== 'backlog');
  if (told !== undefined) return `${ageInWords(Math.max(2_000, b.at_ms - a.at_ms))} ${gapInWords(told.kind)}`;
  return b.at_ms - a.at_ms > SILENCE_MS ? `${ageInWords(b.at_ms - a.at_ms)} no record` : null;
}

export function trailOf(points: readonly TrackPoint[], gaps: readonly Gap[]): Trail {
  const trail: Trail = { lines: [], gaps: [] };
  let line: TrailLine | null = null;
  points.forEach((point, index) => {
    const before = points[index - 1];
    const words = before === undefined ? null : gapBetween(before, point, gaps);
    if (before !== undefined && words !== null) {
      const middle = { lon: (before.lon + point.lon) / 2, lat: (before.lat + point.lat) / 2 };
      trail.gaps.push({ ends: [before, point], middle, words });
      line = null;
    }
    const kind = point.backlog ? 'backlog' : 'live';
    if (line === null || line.kind !== kind) {
      const start: Place[] = line !== null && before !== undefined ? [before] : [];
      line = { kind, points: start };
      trail.lines.push(line);
    }
    line.points.push(point);
  });
  return trail;
}
