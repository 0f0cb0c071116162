import { describe, expect, it } from 'vitest';
import { boxOf, distance_m, mainBox, scaleStep } from '../src/geo';
import { fadeOf, RANK, uncertainty_m, UnitDiff } from '../src/map/features';
import { Glide, GLIDE_MS } from '../src/map/glide';
import { coastOf, kilometreGrid } from '../src/map/outline';
import type { Alarm, Unit } from '../src/types';

const LEEDS = { lon: -1.5478, lat: 53.7997 };
const unit = (changes: Partial<Unit> = {}): Unit => ({
  id: 'sim/pc-0001',
  force: 'sim',
  device: 'pc-0001',
  callsign: 'PC 0001',
  kind: 'officer',
  mode: 'exercise',
  connected: true,
  duty: 'available',
  battery_pct: 80,
  position: {
    ...LEEDS,
    speed_mps: 2,
    course_deg: 90,
    accuracy_m: 5,
    device_time_ms: 0,
    received_at_ms: 0,
    clock: 'gnss',
    history: false,
  },
  last_report_ms: 0,
  stale: false,
  alarm: null,
  ...changes,
});
const drawing = (now_ms: number, changes = {}) => ({
  selected: null,
  now_ms,
  alarms: new Map<string, Alarm>(),
  placeOf: (each: Unit) => each.position ?? LEEDS,
  ...changes,
});

const unitFeatures = (units: Unit[], how: ReturnType<typeof drawing>) => new UnitDiff().next(units, how).add;

describe('what a marker says', () => {
  it('tells exercise from actual in its picture and its label', () => {
    const [exercise, actual] = unitFeatures([unit(), unit({ mode: 'actual' })], drawing(0));
    expect(exercise?.properties.marker).toContain('"actual":false');
    expect(actual?.properties.marker).toContain('"actual":true');
    expect(exercise?.properties.chip).not.toBe(actual?.properties.chip);
  });

  it('draws no marker for a unit without a position', () => {
    expect(unitFeatures([unit({ position: null })], drawing(0))).toEqual([]);
  });

  it('shows no heading for a unit that stands', () => {
    const position = { ...unit().position!, speed_mps: 0.2 };
    const [standing] = unitFeatures([unit({ position })], drawing(0));
    expect(standing?.properties.marker).toContain('"heading":false');
  });

  it('fades from one minute to ten and then stays visible', () => {
    expect(fadeOf(0)).toBe(1);
    expect(fadeOf(60_000)).toBe(1);
    expect(fadeOf(330_000)).toBeCloseTo(0.7);
    expect(fadeOf(9e9)).toBe(0.4);
  });

  it('grows the uncertainty with age and bounds it', () => {
    expect(uncertainty_m(unit(), 0)).toBe(5);
    expect(uncertainty_m(unit(), 10_000)).toBe(25);
    expect(uncertainty_m(unit(), 9e9)).toBe(1_500);
  });

  it('rings a fresh position only if somebody looks at it, an old one always, and wider', () => {
    const ring = (now_ms: number, changes = {}) => unitFeatures([unit()], drawing(now_ms, changes))[0]?.properties.ring_px ?? 0;
    expect(ring(0)).toBe(0);
    expect(ring(0, { selected: 'sim/pc-0001' })).toBeGreaterThan(0);
    expect(ring(120_000)).toBeGreaterThan(0);
    expect(ring(600_000)).toBeGreaterThan(ring(120_000));
  });

  it('tells a cluster how bad its worst unit is', () => {
    const rank = (changes: Partial<Unit>, state?: string) =>
      unitFeatures([unit(changes)], drawing(0, state ? { alarms: new Map([['sim/pc-0001', { state } as Alarm]]) } : {}))[0]?.properties.rank;
    expect(rank({})).toBe(RANK.available);
    expect(rank({ duty: 'at_scene' })).toBe(RANK.engaged);
    expect(rank({ connected: false })).toBe(RANK.stale);
    expect(rank({}, 'acknowledged')).toBe(RANK.answered);
    expect(rank({}, 'unacknowledged')).toBe(RANK.waiting);
    expect(unitFeatures([unit({ mode: 'drill' as never })], drawing(0))[0]?.properties.mock).toBe(1);
  });
});

describe('the difference that is drawn', () => {
  it('hands on only what changed, and what is gone', () => {
    const diff = new UnitDiff();
    const [one, two] = [unit({ id: 'a' }), unit({ id: 'b' })];
    expect(diff.next([one, two], drawing(0)).add).toHaveLength(2);
    expect(diff.next([one, two], drawing(1_000))).toEqual({ add: [], remove: [] });
    const later = diff.next([one, unit({ id: 'b', callsign: 'renamed' })], drawing(2_000));
    expect(later.add.map((feature) => feature.properties.id)).toEqual(['b']);
    expect(diff.next([one], drawing(3_000)).remove).toEqual(['b']);
  });

  it('redraws a unit that was chosen, and every unit whose age shows', () => {
    const diff = new UnitDiff();
    const one = unit({ id: 'a' });
    diff.next([one], drawing(0));
    expect(diff.next([one], drawing(0, { selected: 'a' })).add).toHaveLength(1);
    expect(diff.next([one], drawing(500_000, { selected: 'a' })).add).toHaveLength(1);
  });
});

describe('gliding', () => {
  const near = { lon: LEEDS.lon + 0.001, lat: LEEDS.lat };
  const far = { lon: LEEDS.lon + 1, lat: LEEDS.lat };

  it('ends exactly on the reported place and goes no further', () => {
    const glide = new Glide();
    glide.aim('a', LEEDS, 0, true);
    glide.aim('a', near, 1_000, true);
    expect(glide.at('a', 1_000)).toEqual(LEEDS);
    expect(glide.at('a', 1_000 + GLIDE_MS / 2)?.lon).toBeGreaterThan(LEEDS.lon);
    expect(glide.at('a', 1_000 + GLIDE_MS)).toEqual(near);
    expect(glide.at('a', 9e9)).toEqual(near);
    expect(glide.isMoving(9e9)).toBe(false);
  });

  it('shows a leap as a leap, and obeys those who want no movement', () => {
    const glide = new Glide();
    glide.aim('a', LEEDS, 0, true);
    glide.aim('a', far, 0, true);
    expect(glide.at('a', 0)).toEqual(far);
    glide.aim('a', LEEDS, 0, false);
    expect(glide.at('a', 0)).toEqual(LEEDS);
  });

  it('forgets units that are gone', () => {
    const glide = new Glide();
    glide.aim('a', LEEDS, 0, true);
    glide.keep(new Set());
    expect(glide.at('a', 0)).toBeNull();
  });
});

describe('geometry', () => {
  it('measures a degree of latitude', () => {
    expect(distance_m({ lon: 0, lat: 53 }, { lon: 0, lat: 54 })).toBeCloseTo(111_195, -1);
  });

  it('does not let one unit abroad shrink the town', () => {
    const town = Array.from({ length: 9 }, (_, index) => ({ lon: -1.5 + index / 1_000, lat: 53.8 }));
    expect(mainBox([...town, { lon: 153, lat: -27 }])).toEqual(boxOf(town));
    expect(mainBox([])).toBeNull();
  });

  it('picks a round scale that fits', () => {
    expect(scaleStep(4.3, 110)).toMatchObject({ metres: 200, words: '200 m' });
    expect(scaleStep(40, 110)).toMatchObject({ metres: 2_000, words: '2 km' });
  });

  it('leaves the sides made by cutting out of the coast', () => {
    const square = [[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]];
    const coast = coastOf({
      type: 'FeatureCollection',
      cuts: { lon: [0], lat: [] },
      features: [{ type: 'Feature', properties: {}, geometry: { type: 'MultiPolygon', coordinates: [[square]] } }],
    } as never);
    expect(coast.geometry.coordinates).toEqual([[[0, 0], [1, 0], [1, 1], [0, 1]]]);
  });

  it('spaces the grid by a kilometre', () => {
    const [first, , second] = kilometreGrid(LEEDS, 2).geometry.coordinates.map((line) => line[0]);
    const place = (at: number[] | undefined) => ({ lon: at?.[0] ?? 0, lat: LEEDS.lat });
    expect(distance_m(place(first), place(second))).toBeCloseTo(1_000, -1);
  });
});
