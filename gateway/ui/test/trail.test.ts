import { describe, expect, it } from 'vitest';
import { alarmBars, recordSpans, ticks, xOf } from '../src/timeline/axis';
import { join, Seen, trailOf } from '../src/trail';
import type { Alarm, TrackPoint } from '../src/types';

const at = (second: number, changes: Partial<TrackPoint> = {}): TrackPoint => ({
  at_ms: second * 1_000,
  lon: -1.5 + second * 1e-5,
  lat: 53.8,
  accuracy_m: 5,
  speed_mps: 1,
  course_deg: 90,
  backlog: false,
  ...changes,
});

describe('a trail', () => {
  it('draws no line across a time without records, and marks its ends', () => {
    const trail = trailOf([at(0), at(10), at(400), at(410)], []);
    expect(trail.lines.map((line) => line.points.length)).toEqual([2, 2]);
    expect(trail.gaps).toHaveLength(1);
    expect(trail.gaps[0]?.words).toBe('6 min no record');
    expect(trail.gaps[0]?.ends.map((end) => end.lon)).toEqual([at(10).lon, at(400).lon]);
  });

  it('draws a told loss as a gap, however short', () => {
    const gaps = [{ from_ms: 12_000, until_ms: 18_000, kind: 'lost' as const }];
    const trail = trailOf([at(0), at(10), at(20), at(30)], gaps);
    expect(trail.lines.map((line) => line.points.length)).toEqual([2, 2]);
    expect(trail.gaps[0]?.words).toContain('lost');
  });

  it('draws the backlog apart from what was live, joined where they meet', () => {
    const trail = trailOf([at(0), at(10, { backlog: true }), at(20, { backlog: true }), at(30)], []);
    expect(trail.lines.map(({ kind }) => kind)).toEqual(['live', 'backlog', 'live']);
    expect(trail.lines[1]?.points).toHaveLength(3);
    expect(trail.gaps).toHaveLength(0);
  });

  it('counts a point once that the gateway and the page both know', () => {
    expect(join([at(0), at(10)], [at(10), at(20)]).map(({ at_ms }) => at_ms)).toEqual([0, 10_000, 20_000]);
  });

  it('remembers the chosen unit only, and no step twice', () => {
    const seen = new Seen();
    seen.add('a', at(0));
    seen.add('a', at(0));
    seen.add('a', at(60));
    expect(seen.points('a')).toHaveLength(2);
    seen.add('b', at(0));
    expect(seen.points('a')).toHaveLength(0);
  });
});

describe('the time axis', () => {
  const axis = { from_ms: 0, until_ms: 3_600_000, width_px: 600 };

  it('keeps every instant inside', () => {
    expect(xOf(axis, -5)).toBe(0);
    expect(xOf(axis, 1_800_000)).toBe(300);
    expect(xOf(axis, 9e9)).toBe(600);
  });

  it('labels no closer than its labels are wide', () => {
    const list = ticks(axis);
    expect(list.length).toBeGreaterThan(4);
    expect((list[1]?.x ?? 0) - (list[0]?.x ?? 0)).toBeGreaterThanOrEqual(64);
  });

  it('shows records and gaps as spans of their own', () => {
    const spans = recordSpans(axis, [at(0), at(30), at(600), at(630, { backlog: true }), at(660, { backlog: true })], []);
    expect(spans.map(({ kind }) => kind)).toEqual(['live', 'gap', 'live', 'backlog']);
  });

  it('puts alarms that would cover each other into lanes', () => {
    const alarm = (id: string, second: number): Alarm => ({ id, received_at_ms: second * 1_000, acknowledged_at_ms: null }) as Alarm;
    const bars = alarmBars(axis, [alarm('a', 100), alarm('b', 101), alarm('c', 2_000)], 3_600_000);
    expect(bars.map(({ lane }) => lane)).toEqual([0, 1, 0]);
    expect(bars[0]?.answered_x).toBe(600);
  });
});
