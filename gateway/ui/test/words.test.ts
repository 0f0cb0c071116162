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
  const alarm = { state: 'acknowledged', receipt: 'none' } as Alarm;

  it('says that the wearer knows only when the device has confirmed it', () => {
    expect(words.receiptInWords(alarm, false)).toContain('not told');
    expect(words.receiptInWords({ ...alarm, receipt: 'queued' }, true)).toBe('Telling the wearer');
    expect(words.receiptInWords({ ...alarm, receipt: 'queued' }, false)).toContain('not told');
    expect(words.receiptInWords({ ...alarm, receipt: 'delivered' }, false)).toBe('Wearer has been told');
    expect(words.receiptInWords({ ...alarm, receipt: 'delivered', state: 'unacknowledged' }, true)).toContain('waits');
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
