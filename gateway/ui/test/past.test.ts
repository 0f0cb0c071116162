import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { PastAlarm } from '../src/state/past_alarm';
import { replay } from '../src/state/replay.svelte';
import { room } from '../src/state/room.svelte';
import { track } from '../src/state/track.svelte';
import type { Session, TrackPoint, Unit } from '../src/types';
import { json } from './feed';

const raised = (id: string, at_ms: number, grade: 'P1' | 'P3'): PastAlarm =>
  ({ id, unit: 'a', state: 'unacknowledged', acknowledged_at_ms: null, raised_at_ms: at_ms, received_at_ms: at_ms, grade }) as PastAlarm;

describe('a replay', () => {
  it('colours a unit by the gravest alarm that waits, whichever came last', () => {
    const [grave, later] = [raised('grave', 1_000, 'P1'), raised('later', 2_000, 'P3')];
    replay.at_ms = 3_000;
    for (const alarms of [[grave, later], [later, grave]]) {
      replay.alarms = alarms;
      expect(replay.alarmOfUnit.get('a')?.id).toBe('grave');
    }
    replay.alarms = [grave, { ...later, acknowledged_at_ms: 2_500 }];
    expect(replay.alarmOfUnit.get('a')?.id).toBe('grave');
    replay.at_ms = 500;
    expect(replay.alarmOfUnit.size).toBe(0);
  });
});

describe('a track', () => {
  const unit = (id: string): Unit => ({ id, position: null }) as Unit;
  const point = { at_ms: 1, lon: 0, lat: 0 } as TrackPoint;
  const found = (): Response => json({ points: [point], gaps: [], next: null });
  const busy = (): Response => new Response('{"error":"busy"}', { status: 429, headers: { 'Retry-After': '2' } });
  const choose = (id: string | null): void => track.follow(id === null ? null : unit(id), 0, 1, true);
  let asked: { unit: string; signal: AbortSignal }[] = [];
  let answer: () => Promise<Response> | Response = found;

  beforeEach(() => {
    vi.useFakeTimers();
    room.session = { may: ['history'] } as unknown as Session;
    asked = [];
    vi.stubGlobal('fetch', async (path: string, { signal }: { signal: AbortSignal }) => {
      asked.push({ unit: new URL(path, 'http://here').searchParams.get('unit') ?? '', signal });
      return answer();
    });
  });
  afterEach(() => {
    choose(null);
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it('is asked for no more when another unit is chosen', async () => {
    answer = () => new Promise(() => undefined);
    choose('a');
    choose('b');
    expect(asked.map((each) => [each.unit, each.signal.aborted])).toEqual([['a', true], ['b', false]]);
    choose(null);
    expect(asked[1]?.signal.aborted).toBe(true);
  });

  it('is asked for again when a busy gateway said so', async () => {
    answer = busy;
    choose('a');
    await vi.advanceTimersByTimeAsync(1_999);
    expect([asked.length, track.points.length]).toEqual([1, 0]);
    answer = found;
    await vi.advanceTimersByTimeAsync(1);
    expect([asked.length, track.points.length]).toEqual([2, 1]);
  });

  it('is not asked for again once its unit is left', async () => {
    answer = busy;
    choose('a');
    await vi.advanceTimersByTimeAsync(1_000);
    choose(null);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(asked).toHaveLength(1);
  });
});
