import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Stream, type StreamHandler } from '../src/stream';
import { fakeGateway, FakeSource } from './feed';

const handler = () =>
  ({
    onOpen: vi.fn(),
    onLagged: vi.fn(),
    onUnits: vi.fn(),
    onAlarm: vi.fn(),
    onGateway: vi.fn(),
    onWatch: vi.fn(),
    onSign: vi.fn(),
    onLost: vi.fn(),
    mayRetry: vi.fn(async () => true),
  }) satisfies StreamHandler;

describe('the live feed', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    fakeGateway({});
  });
  afterEach(() => {
    vi.restoreAllMocks();
    vi.useRealTimers();
    vi.unstubAllGlobals();
  });

  it('treats seven seconds of silence as a loss and reconnects', async () => {
    const taken = handler();
    new Stream('/feed', taken).start();
    FakeSource.last.open();
    await vi.advanceTimersByTimeAsync(6_900);
    FakeSource.last.say('gateway', {});
    await vi.advanceTimersByTimeAsync(6_900);
    expect(taken.onLost).not.toHaveBeenCalled();
    await vi.advanceTimersByTimeAsync(200);
    expect(taken.onLost).toHaveBeenCalledOnce();
    expect(FakeSource.all[0]?.closed).toBe(true);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(FakeSource.all).toHaveLength(2);
  });

  it('doubles its wait after each failure, up to eight seconds, and forgets that once it is open', async () => {
    vi.spyOn(Math, 'random').mockReturnValue(0.5);
    new Stream('/feed', handler()).start();
    const reconnectsAfter = async (wait_ms: number) => {
      const before = FakeSource.all.length;
      FakeSource.last.fail();
      await vi.advanceTimersByTimeAsync(wait_ms - 1);
      expect(FakeSource.all).toHaveLength(before);
      await vi.advanceTimersByTimeAsync(1);
      expect(FakeSource.all).toHaveLength(before + 1);
    };
    for (const wait_ms of [500, 1_000, 2_000, 4_000, 8_000, 8_000]) await reconnectsAfter(wait_ms);
    FakeSource.last.open();
    await reconnectsAfter(500);
  });

  it('stops when the session is over', async () => {
    const taken = handler();
    taken.mayRetry.mockResolvedValue(false);
    new Stream('/feed', taken).start();
    FakeSource.last.fail();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(FakeSource.all).toHaveLength(1);
  });

  it('hands on events with their cursor, and none from a feed it has given up', () => {
    const taken = handler();
    new Stream('/feed', taken).start();
    const source = FakeSource.last;
    source.open();
    source.say('units', [{ id: 'a' }], '12');
    expect(taken.onUnits).toHaveBeenCalledWith([{ id: 'a' }], '12');
    source.fail();
    source.say('units', [{ id: 'b' }], '13');
    expect(taken.onUnits).toHaveBeenCalledOnce();
  });

  it('goes on after the last event it has, and begins anew for whoever logs in', async () => {
    const taken = handler();
    const feed = new Stream('/feed', taken);
    feed.start();
    FakeSource.last.open();
    expect(taken.onOpen).toHaveBeenLastCalledWith(false);
    FakeSource.last.say('units', [], '12');
    FakeSource.last.say('alarm', {}, '12');
    FakeSource.last.fail();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(FakeSource.last.path).toBe('/feed?cursor=12');
    FakeSource.last.open();
    expect(taken.onOpen).toHaveBeenLastCalledWith(true);
    feed.stop();
    feed.start();
    expect(FakeSource.last.path).toBe('/feed');
  });
});
