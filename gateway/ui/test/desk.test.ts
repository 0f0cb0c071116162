import { describe, expect, it } from 'vitest';
import { commandOf, SHORTCUTS, type Press } from '../src/keys';
import { choices, EVERYTHING, passes } from '../src/panels/filter';
import { grouped } from '../src/panels/group';
import { soundingGrade } from '../src/sound';
import type { Alarm, Unit } from '../src/types';

const press = (key: string, changes: Partial<Press> = {}): Press => ({
  key,
  isModified: false,
  isTyping: false,
  isInDialog: false,
  letters: true,
  ...changes,
});

describe('the keyboard', () => {
  it('knows every key once', () => {
    const keys = SHORTCUTS.map(({ key }) => key.toLowerCase());
    expect(new Set(keys).size).toBe(keys.length);
    expect(commandOf(press('a'))).toBe('acknowledge');
    expect(commandOf(press('/'))).toBe('search');
  });

  it('never acts on a letter that is typed, modified or meant for a dialog', () => {
    for (const changes of [{ isTyping: true }, { isModified: true }, { isInDialog: true }]) {
      expect(commandOf(press('a', changes))).toBeNull();
    }
    expect(commandOf(press('Escape', { isTyping: true }))).toBe('escape');
  });

  it('can be told to leave single letters alone, and still helps', () => {
    expect(commandOf(press('a', { letters: false }))).toBeNull();
    expect(commandOf(press('?', { letters: false }))).toBe('help');
  });
});

describe('tones', () => {
  it('sounds the gravest that waits, and P1 although muted', () => {
    expect(soundingGrade(['P3', 'P1', 'P2'], false)).toBe('P1');
    expect(soundingGrade(['P3', 'P1'], true)).toBe('P1');
    expect(soundingGrade(['P3', 'P2'], true)).toBeNull();
    expect(soundingGrade([], false)).toBeNull();
  });
});

describe('the unit list', () => {
  const unit = (changes: Partial<Unit>): Unit =>
    ({ id: 'a/1', force: 'a', device: 'pc-1', callsign: 'BB11', kind: 'officer', duty: 'available', connected: true, stale: false, ...changes }) as Unit;
  const shows = (filter: Partial<typeof EVERYTHING>, one: Unit) => passes({ ...EVERYTHING, ...filter }, (id) => id === 'alarmed')(one);

  it('filters by force, state, role, kind and name', () => {
    expect(shows({ force: 'a' }, unit({}))).toBe(true);
    expect(shows({ force: 'b' }, unit({}))).toBe(false);
    expect(shows({ role: 'dog' }, unit({ role: 'dog' }))).toBe(true);
    expect(shows({ role: 'dog' }, unit({}))).toBe(false);
    expect(shows({ state: 'engaged' }, unit({ duty: 'at_scene' }))).toBe(true);
    expect(shows({ state: 'quiet' }, unit({ stale: true }))).toBe(true);
    expect(shows({ state: 'alarm' }, unit({ id: 'alarmed' }))).toBe(true);
    expect(shows({ kind: 'vehicle' }, unit({}))).toBe(false);
    expect(shows({ search: 'singh' }, unit({ officer: 'PC Singh' }))).toBe(true);
    expect(shows({ search: 'zz' }, unit({}))).toBe(false);
  });

  it('shows a unit of unknown state among the unavailable, never nowhere', () => {
    expect(shows({ state: 'unavailable' }, unit({ duty: null }))).toBe(true);
  });

  it('offers no choice that has one answer', () => {
    expect(choices([unit({}), unit({})], ({ force }) => force)).toEqual([]);
    expect(choices([unit({}), unit({ force: 'b' })], ({ force }) => force)).toEqual(['a', 'b']);
  });
});

describe('incidents', () => {
  it('keeps alarms of one incident together, where its first one stands', () => {
    const alarm = (id: string, incident: string | null): Alarm => ({ id, incident }) as Alarm;
    const groups = grouped([alarm('1', 'x'), alarm('2', null), alarm('3', 'x')]);
    expect(groups.map((group) => group.alarms.map(({ id }) => id))).toEqual([['1', '3'], ['2']]);
  });
});
