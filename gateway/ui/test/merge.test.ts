import { describe, expect, it } from 'vitest';
import { callsignOrder, compareCursors, isContained, laterAlarm, mergeAlarms, queueOrder } from '../src/state/merge';
import type { Alarm, Unit } from '../src/types';

const alarm = (id: string, changes: Partial<Alarm> = {}): Alarm => ({
  id,
  unit: 'sim/pc-0001',
  callsign: 'PC 0001',
  cause: 'officer_down',
  mode: 'exercise',
  raised_at_ms: 1_000,
  received_at_ms: 1_100,
  position: null,
  state: 'unacknowledged',
  cancelled_at_ms: null,
  acknowledged_by: null,
  acknowledged_at_ms: null,
  receipt: 'none',
  ...changes,
});
const unit = (id: string, callsign = id): Unit => ({ id, callsign }) as Unit;

describe('cursors', () => {
  it('compares counters beyond the exact range of a number', () => {
    expect(compareCursors('9007199254740993', '9007199254740992')).toBe(1);
    expect(compareCursors('9', '10')).toBe(-1);
    expect(compareCursors('7', '7')).toBe(0);
  });

  it('drops an event only if the full read surely contains it', () => {
    expect(isContained('9', '10')).toBe(true);
    expect(isContained('10', '10')).toBe(false);
    expect(isContained('11', '10')).toBe(false);
    expect(isContained(null, '10')).toBe(false);
    expect(isContained('9', null)).toBe(false);
    expect(isContained('not a counter', '10')).toBe(false);
  });
});

describe('units', () => {
  it('orders callsigns as people count', () => {
    const list = [unit('1', 'PC 10'), unit('2', 'PC 9'), unit('3', 'Alpha 2')].sort(callsignOrder);
    expect(list.map((each) => each.callsign)).toEqual(['Alpha 2', 'PC 9', 'PC 10']);
  });
});

describe('alarms', () => {
  it('never takes an acknowledgement back', () => {
    const known = alarm('1', { state: 'acknowledged', acknowledged_by: 'demo' });
    expect(laterAlarm(known, alarm('1'))).toBe(known);
  });

  it('never takes a confirmation by the wearer back', () => {
    const known = alarm('1', { state: 'acknowledged', receipt: 'delivered' });
    expect(laterAlarm(known, alarm('1', { state: 'acknowledged', receipt: 'queued' })).receipt).toBe('delivered');
  });

  it('marks a cancel by the wearer and keeps the alarm waiting', () => {
    const later = laterAlarm(alarm('1'), alarm('1', { cancelled_at_ms: 5 }));
    expect(later).toMatchObject({ state: 'unacknowledged', cancelled_at_ms: 5 });
    expect(laterAlarm(later, alarm('1')).cancelled_at_ms).toBe(5);
  });

  it('keeps an alarm that a full read does not mention', () => {
    const merged = mergeAlarms(new Map([['1', alarm('1')]]), [alarm('2')]);
    expect([...merged.keys()]).toEqual(['1', '2']);
  });

  it('believes the higher revision, whichever way the state went', () => {
    const known = alarm('1', { state: 'acknowledged', revision: 2 });
    expect(laterAlarm(known, alarm('1', { revision: 3 })).state).toBe('unacknowledged');
    expect(laterAlarm(known, alarm('1', { revision: 1 }))).toBe(known);
  });

  it('puts the gravest waiting on top, and treats one without a grade as the gravest', () => {
    const queue = [
      alarm('late P1', { received_at_ms: 9, grade: 'P1' }),
      alarm('early P3', { received_at_ms: 1, grade: 'P3' }),
      alarm('no grade', { received_at_ms: 10 }),
    ].sort(queueOrder);
    expect(queue.map((each) => each.id)).toEqual(['late P1', 'no grade', 'early P3']);
  });

  it('puts the longest waiting on top and the acknowledged below', () => {
    const queue = [
      alarm('answered', { state: 'acknowledged', acknowledged_at_ms: 9 }),
      alarm('new', { received_at_ms: 5_000 }),
      alarm('old', { received_at_ms: 2_000 }),
    ].sort(queueOrder);
    expect(queue.map((each) => each.id)).toEqual(['old', 'new', 'answered']);
  });
});
