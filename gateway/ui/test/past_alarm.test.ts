import { describe, expect, it } from 'vitest';
import { asOf, type PastAlarm, type PastEvent } from '../src/state/past_alarm';

const past = (events: PastEvent[], changes: Partial<PastAlarm> = {}): PastAlarm => {
  const whose = { id: 'sim/pc-0001/1/1', unit: 'sim/pc-0001', callsign: 'PC 1', cause: 'button', mode: 'test' as const, position: null };
  const answered = { state: 'acknowledged' as const, cancelled_at_ms: null, acknowledged_by: 'anna', acknowledged_at_ms: 3_000, receipt: 'none' as const };
  return { ...whose, ...answered, raised_at_ms: 1_000, received_at_ms: 1_000, events, ...changes };
};
const event = (at_ms: number, what: string, grade?: PastEvent['grade']): PastEvent => ({ at_ms, what, who: null, ...(grade ? { grade } : {}) });

describe('an alarm of the past', () => {
  const story = [event(1_000, 'raised'), event(3_000, 'acknowledged', 'P2'), event(4_000, 'lowered', 'P3'), event(5_000, 'cancelled'), event(6_000, 'closed', 'P3')];

  it('is there from its receipt until somebody closed it', () => {
    const there = [999, 1_000, 5_999, 6_000].map((at_ms) => asOf(past(story), at_ms) !== null);
    expect(there).toEqual([false, true, true, false]);
  });

  it('has the grade of its time, and before the first that is known, that one', () => {
    const grades = [2_000, 3_000, 4_500].map((at_ms) => asOf(past(story), at_ms)?.grade);
    expect(grades).toEqual(['P2', 'P2', 'P3']);
  });

  it('is as answered as it was', () => {
    const states = [2_000, 4_500, 5_500].map((at_ms) => asOf(past(story), at_ms)?.state);
    expect(states).toEqual(['unacknowledged', 'acknowledged', 'cleared']);
  });

  it('is shelved from when somebody put it aside until it came back, and says who, until when and why', () => {
    const aside: PastEvent = { at_ms: 2_000, what: 'shelved', who: 'anna', because: 'Sergeant is there', until_ms: 9_000 };
    const shelved = past([event(1_000, 'raised'), aside, event(4_000, 'unshelved')]);
    expect([1_500, 2_000, 4_000].map((at_ms) => asOf(shelved, at_ms)?.state)).toEqual(['unacknowledged', 'shelved', 'acknowledged']);
    expect(asOf(shelved, 3_000)?.shelved).toEqual({ by: 'anna', until_ms: 9_000, reason: 'Sergeant is there' });
    expect(asOf(past([event(1_000, 'raised'), aside, event(9_000, 'shelf_ended')]), 9_000)?.shelved).toBeNull();
  });

  it('of a rule is cleared when the rule found its reason gone, and has the grades that the rules gave it', () => {
    const ofRule = past([event(1_000, 'raised', 'P2'), event(2_000, 'graded', 'P1'), event(3_000, 'acknowledged', 'P1'), event(4_000, 'cleared')]);
    expect([1_500, 2_500, 4_500].map((at_ms) => asOf(ofRule, at_ms)?.grade)).toEqual(['P2', 'P1', 'P1']);
    expect(asOf(ofRule, 4_500)?.state).toBe('cleared');
  });

  it('is never shown less grave than it may have been', () => {
    const open = past([event(1_000, 'raised'), event(3_000, 'acknowledged', 'P2')], { grade: 'P1' });
    expect(asOf(open, 2_000)?.grade).toBe('P2');
    expect(asOf(open, 9_000)?.grade).toBe('P1');
    expect(asOf(past([event(1_000, 'raised')]), 2_000)?.grade).toBeUndefined();
    expect(asOf(past([event(1_000, 'raised')], { grade: 'P3' }), 2_000)?.grade).toBe('P3');
  });
});
