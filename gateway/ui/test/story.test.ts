// Claims about what an operator reads of an alarm's story.
import { describe, expect, it } from 'vitest';
import { eventInWords, personOf } from '../src/timeline/story';
import type { Alarm } from '../src/types';

const alarm = { closed: { by: 'kaur', at_ms: 9, outcome: 'genuine', note: 'helped' } } as unknown as Alarm;
const event = (what: string, text = '', who: string | null = null) => ({ at_ms: 1, what, who, text });

describe('an event of a story', () => {
  it('is never an empty line, whatever the gateway calls it', () => {
    const told = ['raised', 'told', 'confirmed', 'acknowledged', 'cleared', 'shelf_ended', 'something_new'];
    for (const what of told) expect(eventInWords(event(what), alarm)).not.toBe('');
  });

  it('carries its own text behind what it is called', () => {
    expect(eventInWords(event('raised', 'P1'), alarm)).toBe('Raised: P1');
    expect(eventInWords(event('noted', 'welfare check'), alarm)).toBe('Note: welfare check');
    expect(eventInWords(event('closed', 'helped', 'kaur'), alarm)).toBe('Closed as genuine: helped');
    expect(eventInWords(event('fact', 'Weapon drawn'), alarm)).toBe('Weapon drawn');
  });

  it('names a force system as such and not as a person', () => {
    const accepted = event('accepted', '', 'webhook');
    expect(eventInWords(accepted, alarm)).toBe('Delivered to webhook');
    expect(personOf(accepted)).toBeNull();
    expect(personOf(event('acknowledged', '', 'kaur'))).toBe('kaur');
  });
});
