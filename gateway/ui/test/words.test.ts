import { describe, expect, it } from 'vitest';
import type { Alarm } from '../src/types';
import * as words from '../src/words';

describe('age in words', () => {
  it.each([
    [-5_000, 'now'],
    [0, 'now'],
    [1_999, 'now'],
    [2_000, '2 s'],
    [59_999, '59 s'],
    [60_000, '1 min'],
    [3_599_999, '59 min'],
    [3_600_000, '1 h'],
    [47 * 3_600_000, '47 h'],
    [48 * 3_600_000, '2 days'],
  ])('%d ms is "%s"', (age_ms, expected) => {
    expect(words.ageInWords(age_ms)).toBe(expected);
  });

  it.each([
    [500, false, null],
    [2_310, false, '500 of 2,310 drawn; ask for a shorter time.'],
    [10_000, true, '500 of more than 10,000 drawn: the gateway found more than it lists. Ask for a shorter time.'],
    [30, true, '30 of more than 30 drawn: the gateway found more than it lists. Ask for a shorter time.'],
  ])('a list of %d, cut by the gateway: %s, is "%s"', (count, is_cut, expected) => {
    expect(words.cutInWords(count, 500, is_cut)).toBe(expected);
  });

  it.each([
    [[22, 1], [22, 2], 'Sun 22 Nov 01:00:00 to 02:00:00'],
    [[22, 23], [23, 1], 'Sun 22 Nov 23:00:00 to Mon 23 Nov 01:00:00'],
    [[22, 1], [22, 1], 'Sun 22 Nov 01:00:00'],
  ])('the span of day and hour %j to %j is "%s"', ([day, hour], [last_day, last_hour], expected) => {
    const at = (on = 0, o_clock = 0): number => new Date(2026, 10, on, o_clock).getTime();
    expect(words.spanInWords(at(day, hour), at(last_day, last_hour))).toBe(expected);
  });

  it('says "just now" and "ago"', () => {
    expect(words.agoInWords(100)).toBe('just now');
    expect(words.agoInWords(61_000)).toBe('1 min ago');
  });

  it('runs a stopwatch past the hour and never below zero', () => {
    expect(words.stopwatch(-4_000)).toBe('0:00');
    expect(words.stopwatch(67_000)).toBe('1:07');
    expect(words.stopwatch(3_723_000)).toBe('1:02:03');
  });
});

describe('codes in words', () => {
  it('says which user of the machine wrote by command, and leaves a name as it is', () => {
    expect(words.writerInWords('cli:1000')).toBe('command line, uid 1000');
    expect(words.writerInWords('a.cli:1')).toBe('a.cli:1');
  });

  it('reads both spellings of a duty code', () => {
    expect(words.dutyInWords('at-scene')).toBe('At scene');
    expect(words.dutyInWords('at_scene')).toBe('At scene');
    expect(words.readiness('en-route')).toBe('engaged');
  });

  it('shows an unknown code as plain words, and claims no readiness for it', () => {
    expect(words.dutyInWords('crowd_control')).toBe('Crowd control');
    expect(words.readiness('crowd_control')).toBe('unknown');
    expect(words.dutyInWords(null)).toBe('No status');
  });

  it('never hides an alarm whose cause it does not know', () => {
    expect(words.causeInWords('officer_down')).toBe('Officer down');
    expect(words.causeInWords('water-rescue')).toBe('Water rescue');
  });

  it('reads an unknown mode as not actual', () => {
    expect(words.modeInWords('drill' as never)).toBe('Not actual');
  });
});

describe('the last leg of the loop', () => {
  const alarm = { state: 'acknowledged', acknowledged_at_ms: 1, receipt: 'none' } as Alarm;

  it('says that the wearer knows only when the device has confirmed it', () => {
    expect(words.wearerInWords(alarm, false)).toContain('not told');
    expect(words.wearerInWords({ ...alarm, receipt: 'queued' }, true)).toBe('Telling the wearer');
    expect(words.wearerInWords({ ...alarm, receipt: 'queued' }, false)).toContain('not told');
    expect(words.wearerInWords({ ...alarm, receipt: 'delivered' }, false)).toBe('Wearer has been told');
    expect(words.wearerInWords({ ...alarm, acknowledged_at_ms: null }, true)).toContain('waits');
  });

  it('tells told from confirmed, with both times', () => {
    const at = Date.UTC(2026, 10, 22, 2, 2, 7);
    const told = { ...alarm, wearer: { told_ms: at, confirmed_ms: null } };
    expect(words.wearerInWords(told, true)).toMatch(/told \d\d:02:07, not confirmed/);
    expect(words.isConfirmed(told)).toBe(false);
    const confirmed = { ...alarm, wearer: { told_ms: at, confirmed_ms: at + 2_000 } };
    expect(words.wearerInWords(confirmed, true)).toMatch(/told \d\d:02:07, confirmed \d\d:02:09/);
    expect(words.isConfirmed(confirmed)).toBe(true);
  });

  it('counts down to the next step of the ladder', () => {
    const waiting = { ...alarm, state: 'unacknowledged' } as Alarm;
    const first = { ...waiting, escalation: { step: 0, since_ms: 0, next_ms: 10_000, targets: [] } };
    expect(words.escalationInWords(first, 3_000)).toBe('Escalates in 7\u00a0s.');
    const second = { ...waiting, escalation: { step: 1, since_ms: 0, next_ms: null, targets: ['supervisor'] } };
    expect(words.escalationInWords(second, 3_000)).toBe('Escalated (step 1) to supervisor.');
    expect(words.escalationInWords({ ...second, state: 'acknowledged' }, 3_000)).toBeNull();
  });
});

describe('movement', () => {
  it('names courses and speeds', () => {
    expect(words.courseInWords(359)).toBe('north');
    expect(words.courseInWords(-90)).toBe('west');
    expect(words.speedInWords(0.1)).toBe('standing');
    expect(words.speedInWords(13.4)).toBe('30 mph');
  });
});
