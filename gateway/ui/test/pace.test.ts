import { describe, expect, it } from 'vitest';
import { Pace } from '../src/map/pace';

/** News every `every_ms` for a minute before a map that takes `takes_ms` to draw them; when each drawing began. */
function drawings(takes_ms: number, every_ms: number): number[] {
  const pace = new Pace();
  const began: number[] = [];
  let done_ms = Number.POSITIVE_INFINITY;
  let hasNews = false;
  for (let now_ms = 0; now_ms < 60_000; now_ms += 1) {
    hasNews ||= now_ms % every_ms === 0;
    if (now_ms === done_ms) pace.drawn(now_ms);
    if (!hasNews || pace.wait_ms(now_ms) > 0) continue;
    pace.began(now_ms);
    began.push(now_ms);
    done_ms = now_ms + takes_ms;
    hasNews = false;
  }
  return began;
}
const longest = (began: number[]): number => Math.max(...began.slice(1).map((at_ms, index) => at_ms - (began[index] ?? 0)));

describe('the pace of the map', () => {
  it.each([100, 300, 700, 999])('drawing that takes %d ms takes a third of the time at most', (takes_ms) => {
    expect((drawings(takes_ms, 50).length - 1) * takes_ms).toBeLessThanOrEqual(20_000);
  });

  it('a machine that draws quickly misses no news', () => {
    expect(drawings(15, 50)).toHaveLength(1_200);
  });

  it.each([700, 5_000, Number.POSITIVE_INFINITY])('news wait three seconds at most, if drawing takes %d ms', (takes_ms) => {
    expect(longest(drawings(takes_ms, 50))).toBeLessThanOrEqual(3_050);
  });

  it('the first news are drawn at once, and news after a long silence too', () => {
    const pace = new Pace();
    expect(pace.wait_ms(0)).toBe(0);
    pace.began(0);
    pace.drawn(400);
    expect(pace.wait_ms(60_000)).toBe(0);
  });

  it('a view that moves afterwards delays nothing', () => {
    const pace = new Pace();
    pace.began(0);
    pace.drawn(100);
    pace.drawn(900);
    expect(pace.wait_ms(300)).toBe(0);
  });
});
