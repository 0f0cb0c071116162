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

  describe('with days of unclosed alarms before its hour', () => {
    const HOUR_END_MS = 7_200_000;
    const BEGIN_MS = 3_600_000;
    const list = (count: number, name: string, at_ms: number): PastAlarm[] =>
      Array.from({ length: count }, (_, index) => raised(`${name}${index}`, at_ms, 'P3'));

    /** Answers as the gateway does: oldest first, `standing` ones before the others, in pages. */
    function stand(stood: PastAlarm[], own: PastAlarm[]): void {
      vi.stubGlobal('fetch', async (path: string) => {
        const query = new URL(path, 'http://here').searchParams;
        if (path.includes('/replay')) return json({ frames: [], next: null });
        const within = own.filter(({ received_at_ms }) => received_at_ms < Number(query.get('until_ms')));
        const all = query.get('standing') === 'true' ? [...stood, ...within] : within;
        const from = Number(query.get('cursor') ?? 0);
        const until = from + Number(query.get('limit'));
        return json({ alarms: all.slice(from, until), next: until < all.length ? String(until) : null });
      });
    }
    afterEach(() => {
      replay.close();
      vi.unstubAllGlobals();
    });

    it('has the alarms of the hour, and says that not all are shown', async () => {
      stand(list(6_000, 'stood', 1_000), list(501, 'own', BEGIN_MS + 5));
      await replay.open(HOUR_END_MS);
      expect(replay.alarms.filter(({ id }) => id.startsWith('own'))).toHaveLength(501);
      expect(replay.alarms).toHaveLength(5_501);
      expect(replay.fault).toContain('Not every alarm is shown');
    });

    it('has each alarm once, and no complaint where all are there', async () => {
      stand(list(3, 'stood', 1_000), [raised('first', BEGIN_MS, 'P1'), raised('later', BEGIN_MS + 9, 'P3')]);
      await replay.open(HOUR_END_MS);
      expect(replay.alarms.map(({ id }) => id)).toEqual(['stood0', 'stood1', 'stood2', 'first', 'later']);
      expect(replay.fault).toBe('');
    });

    it('says so when the hour itself has more than are read', async () => {
      stand([], list(5_001, 'own', BEGIN_MS + 5));
      await replay.open(HOUR_END_MS);
      expect([replay.alarms.length, replay.fault !== '']).toEqual([5_000, true]);
    });
  });
});

describe('a track', () => {
  const unit = (id: string): Unit => ({ id, position: null }) as Unit;
  const point = { at_ms: 1, lon: 0, lat: 0 } as TrackPoint;
  const found = (): Response => json({ points: [point], gaps: [], next: null });
  const busy = (): Response => new Response('{"error":"busy"}', { status: 429, headers: { 'Retry-After': '2' } });
  const choose = (id: string | null): void => track.follow(id === null ? null : unit(id), 0, 1, true);
  let asked: { unit: string; signal: AbortSignal }[] = [];
  /** Readings that nobody waited for any more when they were answered. */
  let cut = 0;
  let answer: () => Promise<Response> | Response = found;

  beforeEach(() => {
    vi.useFakeTimers();
    room.session = { may: ['history'] } as unknown as Session;
    asked = [];
    cut = 0;
    vi.stubGlobal('fetch', async (path: string, { signal }: { signal: AbortSignal }) => {
      asked.push({ unit: new URL(path, 'http://here').searchParams.get('unit') ?? '', signal });
      const answered = await answer();
      if (signal.aborted) cut += 1;
      return answered;
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

  describe('of a device that changes', () => {
    let changes = 0;
    const change = (): void => {
      changes += 1;
      track.follow({ ...unit('a'), gaps: [{ from_ms: 0, until_ms: changes, kind: 'lost' }] } as Unit, 0, 1, true);
    };
    /** A change each time so many ms have passed. */
    const flap = async (times: number, every_ms: number): Promise<void> => {
      for (let time = 0; time < times; time += 1) {
        change();
        await vi.advanceTimersByTimeAsync(every_ms);
      }
    };
    beforeEach(async () => {
      answer = found;
      choose('a');
      await vi.advanceTimersByTimeAsync(0);
      asked = [];
    });

    it('is read once after its last change, also one that came while the reading was waited for', async () => {
      change();
      await vi.advanceTimersByTimeAsync(2_900);
      change();
      await vi.advanceTimersByTimeAsync(2_999);
      expect(asked).toHaveLength(0);
      await vi.advanceTimersByTimeAsync(10_000);
      expect(asked).toHaveLength(1);
    });

    it('is read although it never rests, and once more when it does', async () => {
      await flap(21, 1_000);
      expect(asked).toHaveLength(2);
      await vi.advanceTimersByTimeAsync(20_000);
      expect(asked).toHaveLength(3);
    });

    it('is read to the end by a slow gateway, and once more for what changed meanwhile', async () => {
      answer = () => new Promise((resolve) => setTimeout(() => resolve(found()), 5_000));
      await flap(3, 4_000);
      await vi.advanceTimersByTimeAsync(20_000);
      expect(asked).toHaveLength(3);
      expect(track.points).toHaveLength(1);
      expect(cut).toBe(0);
    });

    it('is not read again once its unit is left', async () => {
      change();
      choose(null);
      await vi.advanceTimersByTimeAsync(20_000);
      expect(asked).toHaveLength(0);
    });
  });
});
